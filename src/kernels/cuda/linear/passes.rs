//! What is done to numbers that a product has made, or before one: sums of columns, GELU and ReLU.

use dfdx::prelude::CudaError;

use super::super::gpu::Gpu;
use super::super::launch::{Launch, Pointer, launch};
use super::super::scratch::Memory;
use super::super::view::{Any, AnyMut, Kind, View, ViewMut};

/// Rows that one block sums, where there are enough.
const STRETCH: usize = 64;
/// The most stretches that rows are cut into: with three blocks of columns, as for a width of 384, enough to keep a large card busy.
const STRETCHES: usize = 512;

/// The names of a kernel for two kinds of numbers.
macro_rules! pairs {
    ($stem:literal) => {
        [
            [concat!($stem, "_f32_f32"), concat!($stem, "_f32_bf16"), concat!($stem, "_f32_f16")],
            [concat!($stem, "_bf16_f32"), concat!($stem, "_bf16_bf16"), concat!($stem, "_bf16_f16")],
            [concat!($stem, "_f16_f32"), concat!($stem, "_f16_bf16"), concat!($stem, "_f16_f16")],
        ]
    };
}

/// db += the sum of dy's rows: stretches of them first, then over the stretches, which depend on the shape alone.
pub fn backward_bias(
    gpu: &Gpu,
    rows: usize,
    out: usize,
    dy: Any<'_>,
    db: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([dy.len(), db.len()], [rows * out, out], "dy, db of a linear layer");
    if rows == 0 || out == 0 {
        return Ok(());
    }
    let kernel = match dy.kind() {
        Kind::F32 => "linear_column_parts_f32",
        Kind::Bf16 => "linear_column_parts_bf16",
        Kind::F16 => "linear_column_parts_f16",
    };
    let (each, stretches) = stretches(rows);
    let parts = gpu.unwritten(Kind::F32, stretches * out)?;
    let blocks = Launch::grid((out.div_ceil(128), stretches, 1), 256);
    launch!(gpu, kernel, blocks; dy, rows as i64, out as i32, each as i64, parts)?;
    add_stretches(gpu, parts, stretches, out, db)
}

/// The rows of a stretch, and how many there are of so many rows.
pub fn stretches(rows: usize) -> (usize, usize) {
    let each = rows.div_ceil(rows.div_ceil(STRETCH).min(STRETCHES));
    (each, rows.div_ceil(each))
}

/// db += the sums of so many stretches of rows, each (out).
pub fn add_stretches(
    gpu: &Gpu,
    parts: Memory,
    stretches: usize,
    out: usize,
    db: ViewMut<'_>,
) -> Result<(), CudaError> {
    let blocks = Launch::blocks(out.div_ceil(32), 1024);
    launch!(gpu, "linear_column_sums", blocks; parts, stretches as i32, out as i32, db)
}

/// dy *= gelu'(pre), and pre becomes gelu(pre).
pub fn gelu_through(gpu: &Gpu, pre: AnyMut<'_>, dy: AnyMut<'_>) -> Result<(), CudaError> {
    assert_eq!(pre.len(), dy.len(), "pre and dy of a GELU");
    let kernel = pairs!("linear_gelu_through")[pre.kind() as usize][dy.kind() as usize];
    launch!(gpu, kernel, Launch::pass(pre.len()); pre, dy, pre.len() as i64)
}

/// dy *= gelu'(pre), in place.
pub fn gelu_backward(gpu: &Gpu, pre: Any<'_>, dy: ViewMut<'_>) -> Result<(), CudaError> {
    assert_eq!(pre.len(), dy.len(), "pre and dy of a GELU");
    times_slope(gpu, pre, dy.into())
}

pub(super) fn times_slope(gpu: &Gpu, pre: Any<'_>, dy: AnyMut<'_>) -> Result<(), CudaError> {
    let kernel = pairs!("linear_gelu_backward")[pre.kind() as usize][dy.kind() as usize];
    launch!(gpu, kernel, Launch::pass(pre.len()); pre, dy, pre.len() as i64)
}

/// y = gelu(x).
pub fn gelu_forward(gpu: &Gpu, x: Any<'_>, y: AnyMut<'_>) -> Result<(), CudaError> {
    assert_eq!(x.len(), y.len(), "x and y of a GELU");
    gelu_pass(gpu, x.kind(), (Pointer(x.pointer()), x.len()), y)
}

/// y = gelu(x), of so many numbers from an address on, which may be y's own.
pub(super) fn gelu_pass(
    gpu: &Gpu,
    kind: Kind,
    (x, len): (Pointer, usize),
    y: AnyMut<'_>,
) -> Result<(), CudaError> {
    let kernel = pairs!("linear_gelu")[kind as usize][y.kind() as usize];
    launch!(gpu, kernel, Launch::pass(len); x, y, len as i64)
}

/// y = max(x, 0), NaN where x is.
pub fn relu_forward(gpu: &Gpu, x: View<'_>, y: ViewMut<'_>) -> Result<(), CudaError> {
    assert_eq!(x.len(), y.len(), "x and y of a ReLU");
    launch!(gpu, "linear_relu", Launch::pass(x.len()); x, y, x.len() as i64)
}

/// dy = 0 where pre is not above 0, in place.
pub fn relu_backward(gpu: &Gpu, pre: View<'_>, dy: ViewMut<'_>) -> Result<(), CudaError> {
    assert_eq!(pre.len(), dy.len(), "pre and dy of a ReLU");
    launch!(gpu, "linear_relu_backward", Launch::pass(pre.len()); pre, dy, pre.len() as i64)
}

/// scale · x
pub(super) fn times(gpu: &Gpu, scale: f32, x: View<'_>) -> Result<Memory, CudaError> {
    let y = gpu.unwritten(Kind::F32, x.len())?;
    launch!(gpu, "linear_scaled", Launch::pass(x.len()); x, y, scale, x.len() as i64)?;
    Ok(y)
}
