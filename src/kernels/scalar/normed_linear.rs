//! A linear layer with weight norm, slowly.

use super::{linear, normalize};
use crate::kernels::Products;

/// y = x wᵀ for w = g · v / ‖v‖.
pub fn forward(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    x: &[f32],
    v: &[f32],
    g: Option<&[f32]>,
    y: &mut [f32],
    norms: &mut [f32],
) {
    let mut w = vec![0.0; out * inp];
    normalize::weight_norm_forward(out, inp, v, g, &mut w, norms);
    linear::forward(products, rows, inp, out, x.into(), &w, None, y.into());
}

/// dx += dy w, and the gradients of v and g are added to dv and dg.
pub fn backward(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: &[f32],
    x: &[f32],
    v: &[f32],
    g: Option<&[f32]>,
    norms: &[f32],
    dx: &mut [f32],
    dv: &mut [f32],
    dg: Option<&mut [f32]>,
) {
    let (mut w, mut dw) = (vec![0.0; out * inp], vec![0.0; out * inp]);
    normalize::weight_norm_forward(out, inp, v, g, &mut w, &mut vec![0.0; out]);
    linear::backward_input_add(products, rows, inp, out, dy.into(), &w, dx);
    linear::backward_weight(products, rows, inp, out, dy.into(), x.into(), &mut dw);
    normalize::weight_norm_backward(out, inp, &dw, v, g, norms, dv, dg);
}
