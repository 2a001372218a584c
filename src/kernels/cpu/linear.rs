//! Linear layers in PyTorch's layout: x (rows, inp), w (out, inp), y (rows, out).

use super::lanes::{gelu, gelu_slope, mul_add};
use super::product::{Matrix, Onto, product, product_by_strips};
use super::split::{TASK, each_part, rows_per_task, sum_over_rows};

/// Up to so many rows the weights' own transposition counts.
const FEW: usize = 768;

/// y = x wᵀ + bias.
pub fn forward(
    rows: usize,
    inp: usize,
    out: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    assert_eq!([x.len(), w.len(), y.len()], [rows * inp, out * inp, rows * out], "x, w, y of a linear layer");
    let onto = match bias {
        Some(bias) => {
            // the product then adds to it: one pass over y less than adding the bias afterwards
            let part = rows_per_task(out) * out;
            each_part(part.max(1), y, |_, y| y.chunks_exact_mut(out).for_each(|y| y.copy_from_slice(bias)));
            Onto::Add
        }
        None => Onto::Overwrite,
    };
    if rows <= FEW {
        product_by_strips((rows, out, inp), x, w, y, onto);
    } else {
        product((rows, out, inp), Matrix::rows(x, inp), Matrix::transposed(w, inp), y, onto);
    }
}

/// pre = x wᵀ + bias, y = gelu(pre), both (rows, out).
pub fn forward_gelu(
    rows: usize,
    inp: usize,
    out: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    pre: &mut [f32],
    y: &mut [f32],
) {
    forward(rows, inp, out, x, w, bias, pre);
    gelu_forward(pre, y);
}

/// y = residual + s · (x wᵀ + bias), where s is `row_scale[row / rows_per_scale]`, or 1 without row scales.
pub fn forward_residual(
    rows: usize,
    inp: usize,
    out: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    row_scale: Option<&[f32]>,
    rows_per_scale: usize,
    residual: &[f32],
    y: &mut [f32],
) {
    assert_eq!(residual.len(), rows * out, "residual of a linear layer");
    forward(rows, inp, out, x, w, bias, y);
    let part = rows_per_task(out);
    each_part((part * out).max(1), y, |i, y| {
        for (r, (y, residual)) in
            y.chunks_exact_mut(out).zip(residual[i * part * out..].chunks_exact(out)).enumerate()
        {
            let scale = row_scale.map_or(1.0, |s| s[(i * part + r) / rows_per_scale]);
            scale_add(scale, residual, y);
        }
    });
}

/// dx = dy w, or added to dx.
pub fn backward_input(
    rows: usize,
    inp: usize,
    out: usize,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    accumulate: bool,
) {
    assert_eq!(
        [dy.len(), w.len(), dx.len()],
        [rows * out, out * inp, rows * inp],
        "dy, w, dx of a linear layer"
    );
    let onto = if accumulate { Onto::Add } else { Onto::Overwrite };
    product((rows, inp, out), Matrix::rows(dy, out), Matrix::rows(w, inp), dx, onto);
}

/// dw += dyᵀ x.
pub fn backward_weight(rows: usize, inp: usize, out: usize, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    assert_eq!(
        [dy.len(), x.len(), dw.len()],
        [rows * out, rows * inp, out * inp],
        "dy, x, dw of a linear layer"
    );
    product((out, inp, rows), Matrix::transposed(dy, out), Matrix::rows(x, inp), dw, Onto::Add);
}

/// db += the sum of dy's rows.
pub fn backward_bias(rows: usize, out: usize, dy: &[f32], db: &mut [f32]) {
    assert_eq!([dy.len(), db.len()], [rows * out, out], "dy, db of a linear layer");
    sum_over_rows(rows, db, |rows, sum| add_rows(&dy[rows.start * out..rows.end * out], sum));
}

/// dy *= gelu'(pre), in place.
pub fn gelu_backward(pre: &[f32], dy: &mut [f32]) {
    assert_eq!(pre.len(), dy.len(), "pre and dy of a GELU");
    each_part(TASK, dy, |i, dy| gelu_backward_part(&pre[i * TASK..][..dy.len()], dy));
}

/// y = gelu(x).
pub fn gelu_forward(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y of a GELU");
    each_part(TASK, y, |i, y| gelu_part(&x[i * TASK..][..y.len()], y));
}

/// dst = s · src, where s is `scale[row / rows_per_scale]` and rows are `width` wide.
pub fn scale_rows(rows_per_scale: usize, width: usize, scale: &[f32], src: &[f32], dst: &mut [f32]) {
    assert_eq!(
        [src.len(), dst.len()],
        [scale.len() * rows_per_scale * width; 2],
        "src and dst of row scales"
    );
    let part = rows_per_task(width);
    each_part((part * width).max(1), dst, |i, dst| {
        for (r, (dst, src)) in
            dst.chunks_exact_mut(width).zip(src[i * part * width..].chunks_exact(width)).enumerate()
        {
            scale_into(scale[(i * part + r) / rows_per_scale], src, dst);
        }
    });
}

vectorised! {
    fn scale_add<I>(scale: f32, residual: &[f32], y: &mut [f32]) {
        for (y, r) in y.iter_mut().zip(residual) {
            *y = mul_add::<I>(scale, *y, *r);
        }
    }

    fn scale_into<I>(scale: f32, src: &[f32], dst: &mut [f32]) {
        for (d, s) in dst.iter_mut().zip(src) {
            *d = scale * s;
        }
    }

    fn add_rows<I>(x: &[f32], sum: &mut [f32]) {
        for row in x.chunks_exact(sum.len()) {
            for (s, v) in sum.iter_mut().zip(row) {
                *s += v;
            }
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
    use crate::kernels::probe::{differentiates, poison, values, weighted};
    use crate::kernels::scalar;

    fn check(rows: usize, inp: usize, out: usize) {
        let (x, w, dy) = (values("x", rows * inp), values("w", out * inp), values("dy", rows * out));
        let (bias, residual) = (values("bias", out), values("residual", rows * out));
        let scale = values("scale", rows);
        for bias in [None, Some(&bias[..])] {
            twins!(5e-6, linear::forward(rows, inp, out, &x, &w, bias, y), y = poison(rows * out));
            twins!(
                5e-6,
                linear::forward_gelu(rows, inp, out, &x, &w, bias, pre, y),
                pre = poison(rows * out),
                y = poison(rows * out)
            );
            for (scale, each) in [(None, 1), (Some(&scale[..]), 1), (Some(&scale[..]), 3)] {
                twins!(
                    5e-6,
                    linear::forward_residual(rows, inp, out, &x, &w, bias, scale, each, &residual, y),
                    y = poison(rows * out)
                );
            }
        }
        twins!(5e-6, linear::backward_input(rows, inp, out, &dy, &w, dx, false), dx = poison(rows * inp));
        twins!(
            5e-6,
            linear::backward_input(rows, inp, out, &dy, &w, dx, true),
            dx = values("dx", rows * inp)
        );
        twins!(5e-6, linear::backward_weight(rows, inp, out, &dy, &x, dw), dw = values("dw", out * inp));
        twins!(1e-6, linear::backward_bias(rows, out, &dy, db), db = values("db", out));
        twins!(5e-7, linear::gelu_forward(&dy, y), y = poison(rows * out));
        twins!(5e-7, linear::gelu_backward(&dy, y), y = values("dgelu", rows * out));
        twins!(0.0, linear::scale_rows(1, out, &scale, &dy, y), y = poison(rows * out));
    }

    #[test]
    fn fast_linear_agrees_with_its_twin() {
        for (rows, inp, out) in [
            (1, 5, 7),
            (3, 64, 1),
            (17, 5, 128),
            (37, 128, 384),
            (197, 384, 130),
            (800, 70, 33),
            (1000, 384, 300),
        ] {
            check(rows, inp, out);
        }
        check(0, 4, 4);
    }

    #[test]
    fn scalar_linear_differentiates() {
        let (rows, inp, out) = (2, 3, 4);
        let (x, w, dy) = (values("x", 6), values("w", 12), values("dy", 8));
        let loss = |x: &[f32], w: &[f32]| {
            let (mut pre, mut y) = (poison(8), poison(8));
            scalar::linear::forward_gelu(rows, inp, out, x, w, None, &mut pre, &mut y);
            weighted(&dy, &y)
        };
        let (mut pre, mut dpre) = (poison(8), dy.clone());
        scalar::linear::forward(rows, inp, out, &x, &w, None, &mut pre);
        scalar::linear::gelu_backward(&pre, &mut dpre);
        let (mut dx, mut dw) = (poison(6), vec![0.0; 12]);
        scalar::linear::backward_input(rows, inp, out, &dpre, &w, &mut dx, false);
        scalar::linear::backward_weight(rows, inp, out, &dpre, &x, &mut dw);
        differentiates("dx", &x, &dx, |x| loss(x, &w));
        differentiates("dw", &w, &dw, |w| loss(&x, w));
    }
}
