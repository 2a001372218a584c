//! Linear layers with a GELU behind or before them, or a residual in rows that stand among others, as one pass on tensor cores
//! (`source/linear_tiles.cu`).
//!
//! The library of products has the tanh's GELU alone, and writes rows that stand evenly apart. A pass of its own over what it has made
//! costs as much as the product: at a width of 384 both wait for memory.

use dfdx::prelude::CudaError;

use super::super::gpu::Gpu;
use super::super::kept;
use super::super::launch::{Launch, RowsArgument, launch};
use super::super::scratch::Memory;
use super::super::view::{Any, AnyMut, Kind, View, ViewMut};

/// Rows and columns that a block makes.
const SIDE: usize = 128;
/// Bytes of shared memory: three steps of both factors, 32 of the depth each.
const SHARED: usize = 3 * 2 * SIDE * 32 * 2;

/// (rows, depth) times weights into (rows, cols).
#[derive(Clone, Copy)]
pub struct Shape {
    pub rows: usize,
    pub cols: usize,
    pub depth: usize,
}

impl Shape {
    fn blocks(self) -> Launch {
        Launch::blocks(self.rows.div_ceil(SIDE) * self.cols.div_ceil(SIDE), SIDE as u32).shared(SHARED)
    }

    fn numbers(self) -> (i64, i32, i32) {
        (self.rows as i64, self.cols as i32, self.depth as i32)
    }
}

/// Whether these go to tensor cores: all numbers of 16 bits of one kind, rows of which start on boundaries of 16 bytes, on a card that
/// copies while it works.
pub fn suits(gpu: &Gpu, shape: Shape, numbers: &[Any<'_>]) -> bool {
    let Shape { rows, cols, depth } = shape;
    let suitable = |x: &Any<'_>| {
        x.kind() != Kind::F32 && x.kind() == numbers[0].kind() && x.pointer().is_multiple_of(16)
    };
    let blocks = rows.div_ceil(SIDE) * cols.div_ceil(SIDE);
    gpu.generation() >= 8
        && depth > 0
        && [cols, depth].iter().all(|side| side.is_multiple_of(8) && i32::try_from(*side).is_ok())
        && i32::try_from(blocks).is_ok()
        && numbers.iter().all(suitable)
}

/// Weights in the precision of the product.
fn weights(gpu: &Gpu, kind: Kind, w: View<'_>) -> Result<std::sync::Arc<Memory>, CudaError> {
    Ok(kept::rounded(gpu, kind, w)?.expect("16-bit numbers are never kept as f32"))
}

/// pre = x wᵀ + bias, where there is room for it, and y = gelu(pre); w is (cols, depth).
pub fn forward_gelu(
    gpu: &Gpu,
    shape: Shape,
    x: Any<'_>,
    w: View<'_>,
    bias: Option<View<'_>>,
    pre: Option<AnyMut<'_>>,
    y: AnyMut<'_>,
) -> Result<(), CudaError> {
    let kernel = match y.kind() {
        Kind::Bf16 => "linear_tiles_gelu_bf16",
        _ => "linear_tiles_gelu_f16",
    };
    let (w, (rows, cols, depth)) = (weights(gpu, y.kind(), w)?, shape.numbers());
    launch!(gpu, kernel, shape.blocks(); rows, cols, depth, x, w.any(), bias, pre, y)
}

/// y = residual + scale · (x wᵀ + bias) in those rows of residual and y that are named; w is (cols, depth).
pub fn forward_residual(
    gpu: &Gpu,
    shape: Shape,
    named: RowsArgument,
    scale: f32,
    x: Any<'_>,
    w: View<'_>,
    bias: Option<View<'_>>,
    residual: View<'_>,
    y: ViewMut<'_>,
) -> Result<(), CudaError> {
    let kernel = match x.kind() {
        Kind::Bf16 => "linear_tiles_residual_bf16",
        _ => "linear_tiles_residual_f16",
    };
    let (w, (rows, cols, depth)) = (weights(gpu, x.kind(), w)?, shape.numbers());
    launch!(gpu, kernel, shape.blocks(); rows, cols, depth, named, scale, x, w.any(), bias, residual, y)
}

/// dpre = (dy w) · gelu'(pre), pre becomes gelu(pre), db += the sums of dpre's columns; w is (depth, cols).
pub fn backward_gelu(
    gpu: &Gpu,
    shape: Shape,
    dy: Any<'_>,
    w: View<'_>,
    pre: AnyMut<'_>,
    dpre: AnyMut<'_>,
    db: ViewMut<'_>,
) -> Result<(), CudaError> {
    let kernel = match dpre.kind() {
        Kind::Bf16 => "linear_tiles_backward_bf16",
        _ => "linear_tiles_backward_f16",
    };
    let stretches = shape.rows.div_ceil(SIDE);
    let parts = gpu.unwritten(Kind::F32, stretches * shape.cols)?;
    let (w, (rows, cols, depth)) = (weights(gpu, dpre.kind(), w)?, shape.numbers());
    launch!(gpu, kernel, shape.blocks(); rows, cols, depth, dy, w.any(), pre, dpre, parts)?;
    super::passes::add_stretches(gpu, parts, stretches, shape.cols, db)
}
