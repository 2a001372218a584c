//! Linear layers in PyTorch's layout: x (rows, inp), w (out, inp), y (rows, out).

use super::convert::{Widened, each_chunk, nearest, read, wide, write};
use super::lanes::{gelu, gelu_half, gelu_slope, map, positive};
use super::matrix::{Add, Gelu, GeluAlone, GeluBackward, Matrix, Residual, Store, Through, product};
use super::split::{TASK, each_part, sum_over_rows};
use super::vectors::WIDTH;
use crate::kernels::{Numbers, NumbersMut, Products, Rows};
use half::bf16;

/// y = x wᵀ + bias.
pub fn forward(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    x: Numbers<'_>,
    w: &[f32],
    bias: Option<&[f32]>,
    y: NumbersMut<'_>,
) {
    assert_eq!([x.len(), w.len(), y.len()], [rows * inp, out * inp, rows * out], "x, w, y of a linear layer");
    let (x, w) = (Matrix::rows(x, inp), Matrix::transposed(w, inp));
    product(products, (rows, out, inp), x, w, &Store::new(bias, out, y));
}

/// pre = x wᵀ + bias, y = gelu(pre), both (rows, out); pre is written where there is room for it.
pub fn forward_gelu(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    x: Numbers<'_>,
    w: &[f32],
    bias: Option<&[f32]>,
    pre: Option<NumbersMut<'_>>,
    y: NumbersMut<'_>,
) {
    assert_eq!([x.len(), w.len(), y.len()], [rows * inp, out * inp, rows * out], "x, w, y of a linear layer");
    let (x, w, shape) = (Matrix::rows(x, inp), Matrix::transposed(w, inp), (rows, out, inp));
    let Some(pre) = pre else {
        return product(products, shape, x, w, &GeluAlone::new(bias, out, y));
    };
    assert_eq!(pre.len(), y.len(), "a GELU's input and output");
    product(products, shape, x, w, &Gelu::new(bias, out, pre, y));
}

/// y = residual + scale · (x wᵀ + bias) in those rows of residual and y that are named; x holds a row for each.
pub fn forward_residual(
    products: Products,
    rows: Rows<'_>,
    inp: usize,
    out: usize,
    scale: f32,
    x: Numbers<'_>,
    w: &[f32],
    bias: Option<&[f32]>,
    residual: &[f32],
    y: &mut [f32],
) {
    let (count, numbers) = (rows.len(), y.len());
    assert_eq!([x.len(), w.len()], [count * inp, out * inp], "x and w of a linear layer");
    let (x, w) = (Matrix::rows(x, inp), Matrix::transposed(w, inp));
    let residual = Residual::new(scale, bias, residual, out, y);
    product(products, (count, out, inp), x, w, &Through::new(rows, (out, numbers), &residual));
}

/// dx = dy w.
pub fn backward_input(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Numbers<'_>,
    w: &[f32],
    dx: NumbersMut<'_>,
) {
    assert_eq!(
        [dy.len(), w.len(), dx.len()],
        [rows * out, out * inp, rows * inp],
        "dy, w, dx of a linear layer"
    );
    let (dy, w) = (Matrix::rows(dy, out), Matrix::rows(w, inp));
    product(products, (rows, inp, out), dy, w, &Store::new(None, inp, dx));
}

/// dx += dy w.
pub fn backward_input_add(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Numbers<'_>,
    w: &[f32],
    dx: &mut [f32],
) {
    assert_eq!(
        [dy.len(), w.len(), dx.len()],
        [rows * out, out * inp, rows * inp],
        "dy, w, dx of a linear layer"
    );
    let (dy, w) = (Matrix::rows(dy, out), Matrix::rows(w, inp));
    product(products, (rows, inp, out), dy, w, &Add::new(inp, dx));
}

/// Through a linear layer and the GELU before it: dpre = (dy w) · gelu'(pre), pre becomes gelu(pre), db += the sum of dpre's rows.
pub fn backward_gelu(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Numbers<'_>,
    w: &[f32],
    pre: NumbersMut<'_>,
    mut dpre: NumbersMut<'_>,
    db: &mut [f32],
) {
    assert_eq!([dy.len(), w.len()], [rows * out, out * inp], "dy, w of a linear layer");
    assert_eq!([pre.len(), dpre.len()], [rows * inp; 2], "pre, dpre of the GELU before a linear layer");
    let (dy, w) = (Matrix::rows(dy, out), Matrix::rows(w, inp));
    product(products, (rows, inp, out), dy, w, &GeluBackward::new(pre, inp, dpre.lend()));
    backward_bias(rows, inp, dpre.as_numbers(), db);
}

/// dw += dyᵀ x.
pub fn backward_weight(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Numbers<'_>,
    x: Numbers<'_>,
    dw: &mut [f32],
) {
    assert_eq!(
        [dy.len(), x.len(), dw.len()],
        [rows * out, rows * inp, out * inp],
        "dy, x, dw of a linear layer"
    );
    let (dy, x) = (Matrix::transposed(dy, out), Matrix::rows(x, inp));
    product(products, (out, inp, rows), dy, x, &Add::new(inp, dw));
}

/// db += the sum of dy's rows.
pub fn backward_bias(rows: usize, out: usize, dy: Numbers<'_>, db: &mut [f32]) {
    assert_eq!([dy.len(), db.len()], [rows * out, out], "dy, db of a linear layer");
    sum_over_rows(rows, db, |rows, sum| match dy.slice(rows.start * out..rows.end * out) {
        Numbers::F32(dy) => add_rows(dy, sum),
        Numbers::Bf16(dy) => add_half_rows(dy, sum),
    });
}

/// dy *= gelu'(pre), in place.
pub fn gelu_backward(pre: Numbers<'_>, dy: &mut [f32]) {
    assert_eq!(pre.len(), dy.len(), "pre and dy of a GELU");
    each_part(TASK, dy, |i, dy| {
        let at = i * TASK;
        gelu_backward_part(read(pre, at..at + dy.len(), &mut Widened::default()), dy);
    });
}

/// y = gelu(x).
pub fn gelu_forward(x: Numbers<'_>, y: NumbersMut<'_>) {
    assert_eq!(x.len(), y.len(), "x and y of a GELU");
    each_chunk(TASK, y, |i, y| {
        let span = i * TASK..i * TASK + y.len();
        match (x.slice(span.clone()), y) {
            (Numbers::Bf16(x), NumbersMut::Bf16(y)) => gelu_half_part(x, y),
            (_, y) => write(y, |y| gelu_part(read(x, span, &mut Widened::default()), y)),
        }
    });
}

/// y = max(x, 0), NaN where x is.
pub fn relu_forward(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y of a ReLU");
    each_part(TASK, y, |i, y| relu_part(&x[i * TASK..][..y.len()], y));
}

/// dy = 0 where pre is not above 0, in place.
pub fn relu_backward(pre: &[f32], dy: &mut [f32]) {
    assert_eq!(pre.len(), dy.len(), "pre and dy of a ReLU");
    each_part(TASK, dy, |i, dy| relu_backward_part(&pre[i * TASK..][..dy.len()], dy));
}

vectorised! {
    fn relu_part<I>(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = positive(*x);
        }
    }

    fn relu_backward_part<I>(pre: &[f32], dy: &mut [f32]) {
        for (dy, x) in dy.iter_mut().zip(pre) {
            *dy = if *x > 0.0 { *dy } else { 0.0 };
        }
    }

    fn add_rows<I>(x: &[f32], sum: &mut [f32]) {
        for row in x.chunks_exact(sum.len()) {
            for (s, v) in sum.iter_mut().zip(row) {
                *s += v;
            }
        }
    }

    fn add_half_rows<I>(x: &[bf16], sum: &mut [f32]) {
        for row in x.chunks_exact(sum.len()) {
            for (s, v) in sum.iter_mut().zip(row) {
                *s += wide(*v);
            }
        }
    }

    fn gelu_half_part<I>(x: &[bf16], y: &mut [bf16]) {
        let ((xs, x), (ys, y)) = (x.as_chunks::<WIDTH>(), y.as_chunks_mut::<WIDTH>());
        for (x, y) in xs.iter().zip(ys) {
            I::narrow(map::<I>(I::widen(x), gelu_half::<I>), y);
        }
        for (y, x) in y.iter_mut().zip(x) {
            *y = nearest(gelu_half::<I>(wide(*x)));
        }
    }

    fn gelu_part<I>(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = gelu::<I>(*x);
        }
    }

    fn gelu_backward_part<I>(pre: &[f32], dy: &mut [f32]) {
        for (dy, x) in dy.iter_mut().zip(pre) {
            *dy *= gelu_slope::<I>(*x);
        }
    }
}

#[cfg(test)]
mod tests;
