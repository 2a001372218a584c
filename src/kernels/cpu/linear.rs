//! Linear layers in PyTorch's layout: x (rows, inp), w (out, inp), y (rows, out).

use super::convert::{Widened, each_chunk, nearest, read, wide, write};
use super::lanes::{gelu, gelu_half, gelu_slope, map, positive};
use super::matrix::{Add, Gelu, GeluBackward, Matrix, Residual, Store, Through, product};
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

/// pre = x wᵀ + bias, y = gelu(pre), both (rows, out).
pub fn forward_gelu(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    x: Numbers<'_>,
    w: &[f32],
    bias: Option<&[f32]>,
    pre: NumbersMut<'_>,
    y: NumbersMut<'_>,
) {
    assert_eq!([x.len(), w.len(), y.len()], [rows * inp, out * inp, rows * out], "x, w, y of a linear layer");
    assert_eq!(pre.len(), y.len(), "a GELU's input and output");
    let (x, w) = (Matrix::rows(x, inp), Matrix::transposed(w, inp));
    product(products, (rows, out, inp), x, w, &Gelu::new(bias, out, pre, y));
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

/// dpre = (dy w) · gelu'(pre): through a linear layer and the GELU before it.
pub fn backward_gelu(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Numbers<'_>,
    w: &[f32],
    pre: Numbers<'_>,
    dpre: NumbersMut<'_>,
) {
    assert_eq!([dy.len(), w.len()], [rows * out, out * inp], "dy, w of a linear layer");
    assert_eq!([pre.len(), dpre.len()], [rows * inp; 2], "pre, dpre of the GELU before a linear layer");
    let (dy, w) = (Matrix::rows(dy, out), Matrix::rows(w, inp));
    product(products, (rows, inp, out), dy, w, &GeluBackward::new(pre, inp, dpre));
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
mod tests {
    use crate::kernels::probe::{differentiates, half, poison, values, weighted};
    use crate::kernels::{Numbers, Products, Rows, scalar};

    fn check(products: Products, rows: usize, inp: usize, out: usize) {
        let (w, bias) = (values("w", out * inp), values("bias", out));
        let [x, dy, pre] = [("x", inp), ("dy", out), ("pre", inp)].map(|(name, n)| values(name, rows * n));
        let [x_half, dy_half, pre_half] = [&x, &dy, &pre].map(|v| half(v));
        let of = |full, half| match products {
            Products::F32 => Numbers::F32(full),
            Products::Bf16 => Numbers::Bf16(half),
        };
        let (p, pre) = (products, of(&pre, &pre_half));
        // a factor stored in f32 is rounded on its way into a product of bf16
        for (x, dy) in [(of(&x, &x_half), of(&dy, &dy_half)), (Numbers::F32(&x), Numbers::F32(&dy))] {
            for bias in [None, Some(&bias[..])] {
                stored_twins!(5e-6, p, linear::forward(p, rows, inp, out, x, &w, bias; y: rows * out));
                stored_twins!(5e-6, p, linear::forward_gelu(p, rows, inp, out, x, &w, bias; pre: rows * out, y: rows * out));
                check_residual(p, Rows::All(rows), rows, (inp, out), x, &w, bias);
                let few = Rows::Every { first: 1, apart: 2, count: rows };
                check_residual(p, few, 2 * rows + 1, (inp, out), x, &w, bias);
                for each in [1, 17, 197].into_iter().filter(|&each| rows.is_multiple_of(each)) {
                    // every other image, from the second on
                    let images: Vec<usize> = (0..rows / each).map(|i| 2 * i + 1).collect();
                    let few = Rows::Of { images: &images, each };
                    check_residual(p, few, 2 * rows + each, (inp, out), x, &w, bias);
                }
            }
            stored_twins!(5e-6, p, linear::backward_input(p, rows, inp, out, dy, &w; dx: rows * inp));
            stored_twins!(5e-6, p, linear::backward_gelu(p, rows, inp, out, dy, &w, pre; dpre: rows * inp));
            twins!(
                5e-6,
                linear::backward_input_add(p, rows, inp, out, dy, &w, dx),
                dx = values("dx", rows * inp)
            );
            twins!(5e-6, linear::backward_weight(p, rows, inp, out, dy, x, dw), dw = values("dw", out * inp));
            twins!(1e-6, linear::backward_bias(rows, out, dy, db), db = values("db", out));
        }
        stored_twins!(5e-7, p, linear::gelu_forward(pre; y: rows * inp));
        twins!(5e-7, linear::gelu_backward(pre, y), y = values("dgelu", rows * inp));
        twins!(0.0, linear::relu_forward(&x, y), y = poison(x.len()));
        twins!(0.0, linear::relu_backward(&x, y), y = values("drelu", x.len()));
    }

    /// The rows among `total`; what is written in others shows.
    fn check_residual(
        p: Products,
        rows: Rows<'_>,
        total: usize,
        (inp, out): (usize, usize),
        x: Numbers<'_>,
        w: &[f32],
        bias: Option<&[f32]>,
    ) {
        let residual = values("residual", total * out);
        let mut start = values("y", total * out);
        (0..rows.len()).for_each(|row| start[rows.at(row) * out..][..out].fill(f32::NAN));
        for scale in [1.0, 1.25] {
            twins!(
                5e-6,
                linear::forward_residual(p, rows, inp, out, scale, x, w, bias, &residual, y),
                y = start.clone()
            );
        }
    }

    #[test]
    fn fast_linear_agrees_with_its_twin() {
        for products in [Products::F32, Products::Bf16] {
            for (rows, inp, out) in [
                (1, 5, 7),
                (3, 64, 1),
                (17, 5, 128),
                (37, 128, 384),
                (197, 384, 130),
                (800, 70, 33),
                (1000, 384, 300),
            ] {
                check(products, rows, inp, out);
            }
            check(products, 0, 4, 4);
        }
    }

    #[test]
    fn scalar_linear_differentiates() {
        let (rows, inp, out) = (2, 3, 4);
        let (x, w, dy) = (values("x", 6), values("w", 12), values("dy", 8));
        let p = Products::F32;
        let loss = |x: &[f32], w: &[f32]| {
            let (mut pre, mut y) = (poison(8), poison(8));
            let outputs = ((&mut pre[..]).into(), (&mut y[..]).into());
            scalar::linear::forward_gelu(p, rows, inp, out, x.into(), w, None, outputs.0, outputs.1);
            weighted(&dy, &y)
        };
        let (mut pre, mut dpre) = (poison(8), dy.clone());
        scalar::linear::forward(p, rows, inp, out, x[..].into(), &w, None, (&mut pre[..]).into());
        scalar::linear::gelu_backward(pre[..].into(), &mut dpre);
        let (mut dx, mut dw) = (poison(6), vec![0.0; 12]);
        scalar::linear::backward_input(p, rows, inp, out, dpre[..].into(), &w, (&mut dx[..]).into());
        scalar::linear::backward_weight(p, rows, inp, out, dpre[..].into(), x[..].into(), &mut dw);
        differentiates("dx", &x, &dx, |x| loss(x, &w));
        differentiates("dw", &w, &dw, |w| loss(&x, w));
    }

    #[test]
    fn a_relu_hides_no_nan() {
        let mut y = [1.0; 3];
        crate::kernels::cpu::linear::relu_forward(&[f32::NAN, -1.0, 2.0], &mut y);
        assert!(y[0].is_nan() && y[1..] == [0.0, 2.0]);
    }

    #[test]
    fn scalar_gelu_backward_is_the_two_steps_in_one() {
        let (w, dy, pre) = (values("w", 12), values("dy", 8), values("pre", 6));
        let (mut steps, mut one) = (poison(6), poison(6));
        scalar::linear::backward_input(Products::F32, 2, 3, 4, dy[..].into(), &w, (&mut steps[..]).into());
        scalar::linear::gelu_backward(pre[..].into(), &mut steps);
        let (dy, pre) = (dy[..].into(), pre[..].into());
        scalar::linear::backward_gelu(Products::F32, 2, 3, 4, dy, &w, pre, (&mut one[..]).into());
        one.iter()
            .zip(&steps)
            .for_each(|(one, steps)| assert!((one - steps).abs() < 1e-6 * one.abs().max(1.0)));
    }
}
