//! Multi-head self-attention whose scores never leave the cache: softmax(scale · q kᵀ) v.
//!
//! qkv is (batch, tokens, 3, heads, head_dim), out (batch, queries, heads, head_dim), and the log of each query's sum of
//! exponentials, `lse`, (batch, heads, queries): with it backward recomputes the scores and no probabilities are kept.

use super::matrix::{Epilogue, Matrix, Store, Within, product_here};
use super::split::{each_part, each_part2, with_scratch};
use crate::kernels::{Numbers, NumbersMut, Products};
use softmax::exponentials;

mod backward;
mod dims;
mod qkv;
mod softmax;

pub use backward::backward;
pub use dims::Dims;
pub use qkv::{qkv_backward_input, qkv_backward_weight, qkv_forward};

/// One head of one image: where its numbers stand, and how they are multiplied.
#[derive(Clone, Copy)]
struct Head<'a> {
    products: Products,
    d: Dims,
    qkv: Numbers<'a>,
    task: usize,
}

impl<'a> Head<'a> {
    /// Queries (part 0), keys (1) or values (2) from a token on, a row each.
    fn part(self, part: usize, token: usize) -> Matrix<'a> {
        let at = self.d.at(self.task, token, part);
        Matrix::rows(self.qkv.slice(at..self.qkv.len()), self.d.stride())
    }

    /// The same, a column each.
    fn columns(self, part: usize) -> Matrix<'a> {
        let Matrix { data, row, .. } = self.part(part, 0);
        Matrix::transposed(data, row)
    }

    /// scores (block, padded) = rows (block, head_dim) · keys or values.
    fn inner_products(self, rows: Matrix<'_>, part: usize, scores: &mut [f32]) {
        let (d, block) = (self.d, scores.len() / self.d.padded());
        let store = Store::new(None, d.padded(), scores.into());
        product_here(self.products, (block, d.tokens, d.head_dim), rows, self.columns(part), &store);
    }
}

/// out and lse of every query.
pub fn forward(
    products: Products,
    d: Dims,
    scale: f32,
    qkv: Numbers<'_>,
    out: NumbersMut<'_>,
    lse: &mut [f32],
) {
    d.check(qkv.len(), &[(out.len(), d.head_dim), (lse.len(), 1)]);
    let out = Store::new(None, d.out_stride(), out);
    each_part(d.queries, lse, |task, lse| {
        let head = Head { products, d, qkv, task };
        with_scratch(d.block() * d.padded(), |scores| {
            for first in (0..d.queries).step_by(d.block()) {
                let block = d.block().min(d.queries - first);
                let scores = &mut scores[..block * d.padded()];
                head.inner_products(head.part(0, first), 1, scores);
                exponentials(scale, d.tokens, d.padded(), scores, &mut lse[first..first + block]);
                let probabilities = Matrix::rows(&*scores, d.padded());
                let place = Within { row: d.out_row(task, first), column: d.column(task, 0), of: &out };
                let shape = (block, d.head_dim, d.tokens);
                product_here(products, shape, probabilities, head.part(2, 0), &place);
            }
        });
    });
}

/// The probabilities themselves, (batch, heads, queries, tokens), for attention maps.
pub fn probabilities(products: Products, d: Dims, scale: f32, qkv: Numbers<'_>, probs: &mut [f32]) {
    d.check(qkv.len(), &[(probs.len(), d.tokens)]);
    let mut lse = vec![0.0; d.batch * d.heads * d.queries];
    each_part2((d.queries * d.tokens, probs), (d.queries, &mut lse), |task, probs, lse| {
        let head = Head { products, d, qkv, task };
        with_scratch(d.block() * d.padded(), |scores| {
            for (i, (probs, lse)) in
                probs.chunks_mut(d.block() * d.tokens).zip(lse.chunks_mut(d.block())).enumerate()
            {
                let scores = &mut scores[..lse.len() * d.padded()];
                head.inner_products(head.part(0, i * d.block()), 1, scores);
                exponentials(scale, d.tokens, d.padded(), scores, lse);
                for (p, s) in probs.chunks_exact_mut(d.tokens).zip(scores.chunks_exact(d.padded())) {
                    p.copy_from_slice(&s[..d.tokens]);
                }
            }
        });
    });
}

/// Hands a head's rows, one behind the other, to their places in a larger matrix.
fn hand_on(to: &impl Epilogue, (row, column): (usize, usize), rows: &mut [f32], width: usize) {
    to.take(row, column, (rows.len() / width, width), rows, width);
}

#[cfg(test)]
mod tests;
