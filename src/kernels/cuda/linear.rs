//! Linear layers in PyTorch's layout: x (rows, inp), w (out, inp), y (rows, out).

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, Pointer, launch};
use super::matrix::{Factor, Plus, Target, product};
use super::scratch::Memory;
use super::view::{Any, AnyMut, Kind, View, ViewMut};
use crate::kernels::{Products, Rows};

pub(super) mod passes;
mod tiles;

pub use passes::{backward_bias, gelu_backward, gelu_forward, gelu_through, relu_backward, relu_forward};
use passes::{gelu_pass, times};

/// y = x wᵀ + bias.
pub fn forward(
    gpu: &Gpu,
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    x: Any<'_>,
    w: View<'_>,
    bias: Option<View<'_>>,
    y: AnyMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([x.len(), w.len(), y.len()], [rows * inp, out * inp, rows * out], "x, w, y of a linear layer");
    assert_bias(bias, out);
    let (x, w) = (Factor::rows(x, inp), Factor::weights_transposed(w, inp));
    product(gpu, products, (rows, out, inp), x, w, Target::new(y, out).biased(bias))
}

fn assert_bias(bias: Option<View<'_>>, out: usize) {
    assert_eq!(bias.map_or(out, View::len), out, "the bias of a linear layer");
}

/// pre = x wᵀ + bias, y = gelu(pre), both (rows, out); pre is written where there is room for it. Where it goes through 16 bits on its
/// way (on cards before compute capability 8.0), y is the GELU of the rounded numbers.
pub fn forward_gelu(
    gpu: &Gpu,
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    x: Any<'_>,
    w: View<'_>,
    bias: Option<View<'_>>,
    pre: Option<AnyMut<'_>>,
    mut y: AnyMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([x.len(), w.len(), y.len()], [rows * inp, out * inp, rows * out], "x, w, y of a linear layer");
    assert_eq!(pre.as_ref().map_or(y.len(), AnyMut::len), y.len(), "a GELU's input and output");
    assert_bias(bias, out);
    let shape = tiles::Shape { rows, cols: out, depth: inp };
    let kept = pre.as_ref().map_or(y.as_any(), AnyMut::as_any);
    if Kind::of(products) == y.kind() && tiles::suits(gpu, shape, &[x, y.as_any(), kept]) {
        return tiles::forward_gelu(gpu, shape, x, w, bias, pre, y);
    }
    // without a place of its own, pre stands where y will
    let mut pre = pre.unwrap_or_else(|| y.lend());
    forward(gpu, products, rows, inp, out, x, w, bias, pre.lend())?;
    let pre = pre.as_any();
    gelu_pass(gpu, pre.kind(), (Pointer(pre.pointer()), pre.len()), y)
}

/// y = residual + scale · (x wᵀ + bias) in those rows of residual and y that are named; x holds a row for each.
pub fn forward_residual(
    gpu: &Gpu,
    products: Products,
    rows: Rows<'_>,
    inp: usize,
    out: usize,
    scale: f32,
    x: Any<'_>,
    w: View<'_>,
    bias: Option<View<'_>>,
    residual: View<'_>,
    mut y: ViewMut<'_>,
) -> Result<(), CudaError> {
    let count = rows.len();
    assert_eq!([x.len(), w.len()], [count * inp, out * inp], "x and w of a linear layer");
    assert_eq!(residual.len(), y.len(), "a residual and what it is added to");
    assert_bias(bias, out);
    rows.assert_within(out, y.len());
    if count == 0 {
        return Ok(());
    }
    let tiles = tiles::Shape { rows: count, cols: out, depth: inp };
    let on_boundaries = [residual.pointer(), y.pointer()].iter().all(|place| place.is_multiple_of(16));
    let suits = Kind::of(products) == x.kind() && on_boundaries && tiles::suits(gpu, tiles, &[x]);
    if let (Rows::Of { .. }, true) = (rows, suits) {
        let named = gpu.rows(rows)?;
        return tiles::forward_residual(gpu, tiles, named, scale, x, w, bias, residual, y);
    }
    let (x, w, shape) = (Factor::rows(x, inp), Factor::weights_transposed(w, inp), (count, out, inp));
    // rows that stand evenly apart are a matrix of wider rows
    let (first, apart) = match rows {
        Rows::All(_) => (0, 1),
        Rows::Every { first, apart, .. } => (first, apart.max(1)),
        Rows::Of { .. } => {
            let mut sums = gpu.unwritten(Kind::F32, count * out)?;
            product(gpu, products, shape, x, w, Target::new(sums.view_mut(), out).biased(bias))?;
            let rows = gpu.rows(rows)?;
            return launch!(gpu, "linear_residual", Launch::warps(count, 256); rows, out as i32, scale, sums, residual, y);
        }
    };
    let scaled = bias.filter(|_| scale != 1.0).map(|bias| times(gpu, scale, bias)).transpose()?;
    let bias = scaled.as_ref().map(Memory::view).or(bias);
    let (start, end) = (first * out, y.len());
    let target = Target::new(y.slice(start..end), apart * out).scaled(scale).biased(bias);
    product(gpu, products, shape, x, w, target.plus(Plus::Other(residual.slice(start..end))))
}

/// dx = dy w.
pub fn backward_input(
    gpu: &Gpu,
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Any<'_>,
    w: View<'_>,
    dx: AnyMut<'_>,
) -> Result<(), CudaError> {
    let (found, expected) = ([dy.len(), w.len(), dx.len()], [rows * out, out * inp, rows * inp]);
    assert_eq!(found, expected, "dy, w, dx of a linear layer");
    let (dy, w) = (Factor::rows(dy, out), Factor::weights(w, inp));
    product(gpu, products, (rows, inp, out), dy, w, Target::new(dx, inp))
}

/// dx += dy w.
pub fn backward_input_add(
    gpu: &Gpu,
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Any<'_>,
    w: View<'_>,
    dx: ViewMut<'_>,
) -> Result<(), CudaError> {
    let (found, expected) = ([dy.len(), w.len(), dx.len()], [rows * out, out * inp, rows * inp]);
    assert_eq!(found, expected, "dy, w, dx of a linear layer");
    let (dy, w) = (Factor::rows(dy, out), Factor::weights(w, inp));
    product(gpu, products, (rows, inp, out), dy, w, Target::new(dx, inp).plus(Plus::Itself))
}

/// Through a linear layer and the GELU before it: dpre = (dy w) · gelu'(pre), pre becomes gelu(pre), db += the sum of dpre's rows.
pub fn backward_gelu(
    gpu: &Gpu,
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Any<'_>,
    w: View<'_>,
    pre: AnyMut<'_>,
    mut dpre: AnyMut<'_>,
    db: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([dy.len(), w.len()], [rows * out, out * inp], "dy, w of a linear layer");
    assert_eq!([pre.len(), dpre.len()], [rows * inp; 2], "pre, dpre of the GELU before a linear layer");
    assert_eq!(db.len(), inp, "db of the linear layer before a GELU");
    let shape = tiles::Shape { rows, cols: inp, depth: out };
    if Kind::of(products) == dy.kind() && tiles::suits(gpu, shape, &[dy, pre.as_any(), dpre.as_any()]) {
        return tiles::backward_gelu(gpu, shape, dy, w, pre, dpre, db);
    }
    backward_input(gpu, products, rows, inp, out, dy, w, dpre.lend())?;
    gelu_through(gpu, pre, dpre.lend())?;
    backward_bias(gpu, rows, inp, dpre.as_any(), db)
}

/// dw += dyᵀ x.
pub fn backward_weight(
    gpu: &Gpu,
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Any<'_>,
    x: Any<'_>,
    dw: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!(
        [dy.len(), x.len(), dw.len()],
        [rows * out, rows * inp, out * inp],
        "dy, x, dw of a linear layer"
    );
    let (dy, x) = (Factor::transposed(dy, out), Factor::rows(x, inp));
    product(gpu, products, (out, inp, rows), dy, x, Target::new(dw, inp).plus(Plus::Itself))
}

#[cfg(test)]
mod tests;
