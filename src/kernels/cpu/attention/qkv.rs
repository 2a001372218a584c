//! The linear layer from tokens to their queries, keys and values. Where only an image's first tokens ask, keys and values
//! are made of all tokens, and queries of one token of all images at a time.

use super::Dims;
use crate::kernels::cpu::linear;
use crate::kernels::cpu::matrix::{Add, Matrix, Store, Through, Within, product};
use crate::kernels::{Numbers, NumbersMut, Products, Rows};

impl Dims {
    /// One token of every image, among all tokens.
    fn token(self, token: usize) -> Rows<'static> {
        Rows::Every { first: token, apart: self.tokens, count: self.batch }
    }

    /// Panics unless x, w and qkv have their lengths.
    fn check_qkv(self, x: usize, w: usize, qkv: usize) {
        let width = self.out_stride();
        self.check(qkv, &[]);
        assert_eq!([x, w], [self.batch * self.tokens * width, width * self.stride()], "tokens and weights");
    }
}

/// All from one place on; nothing where there are no images.
fn from(x: Numbers<'_>, place: usize) -> Numbers<'_> {
    x.slice(place.min(x.len())..x.len())
}

/// qkv = x wᵀ + bias; the queries of tokens that do not ask are left as they are.
pub fn qkv_forward(
    products: Products,
    d: Dims,
    x: Numbers<'_>,
    w: &[f32],
    bias: &[f32],
    qkv: NumbersMut<'_>,
) {
    d.check_qkv(x.len(), w.len(), qkv.len());
    let (rows, width, numbers) = (d.batch * d.tokens, d.out_stride(), qkv.len());
    if d.queries == d.tokens {
        return linear::forward(products, rows, width, d.stride(), x, w, Some(bias), qkv);
    }
    let store = Store::new(Some(bias), d.stride(), qkv);
    let (of_queries, of_others) = w.split_at(width * width);
    let (all, others) = (Matrix::rows(x, width), Matrix::transposed(of_others, width));
    product(products, (rows, 2 * width, width), all, others, &Within { row: 0, column: width, of: &store });
    for token in 0..d.queries {
        let x = Matrix::rows(from(x, token * width), d.tokens * width);
        let place = Through::new(d.token(token), (d.stride(), numbers), &store);
        product(products, (d.batch, width, width), x, Matrix::transposed(of_queries, width), &place);
    }
}

/// dw += dqkvᵀ x, without the queries of tokens that did not ask.
pub fn qkv_backward_weight(products: Products, d: Dims, dqkv: Numbers<'_>, x: Numbers<'_>, dw: &mut [f32]) {
    d.check_qkv(x.len(), dw.len(), dqkv.len());
    let (rows, width) = (d.batch * d.tokens, d.out_stride());
    if d.queries == d.tokens {
        return linear::backward_weight(products, rows, width, d.stride(), dqkv, x, dw);
    }
    let dw = Add::new(width, dw);
    let (others, all) = (Matrix::transposed(from(dqkv, width), d.stride()), Matrix::rows(x, width));
    product(products, (2 * width, width, rows), others, all, &Within { row: width, column: 0, of: &dw });
    for token in 0..d.queries {
        let queries = Matrix::transposed(from(dqkv, token * d.stride()), d.tokens * d.stride());
        let x = Matrix::rows(from(x, token * width), d.tokens * width);
        product(products, (width, width, d.batch), queries, x, &dw);
    }
}

/// dx = dqkv w, without the queries of tokens that did not ask.
pub fn qkv_backward_input(products: Products, d: Dims, dqkv: Numbers<'_>, w: &[f32], dx: NumbersMut<'_>) {
    d.check_qkv(dx.len(), w.len(), dqkv.len());
    let (rows, width, numbers) = (d.batch * d.tokens, d.out_stride(), dx.len());
    if d.queries == d.tokens {
        return linear::backward_input(products, rows, width, d.stride(), dqkv, w, dx);
    }
    let dx = Store::new(None, width, dx);
    let others = Matrix::rows(from(dqkv, width), d.stride());
    product(products, (rows, width, 2 * width), others, Matrix::rows(&w[width * width..], width), &dx);
    // those that asked once more, in whole: adding to what is already rounded would round twice
    for token in 0..d.queries {
        let whole = Matrix::rows(from(dqkv, token * d.stride()), d.tokens * d.stride());
        let place = Through::new(d.token(token), (width, numbers), &dx);
        product(products, (d.batch, width, d.stride()), whole, Matrix::rows(w, width), &place);
    }
}
