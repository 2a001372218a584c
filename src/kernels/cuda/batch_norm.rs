//! Batch norm over the rows of x (rows, dim), each column its own channel; in the same pass a residual is added, and what is below 0
//! becomes 0.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::scratch::Memory;
use super::view::{Kind, View, ViewMut};

/// Columns of a block, rows that its threads take at a time when they add up columns, and when they write.
const COLUMNS: usize = 64;
const CHUNK: usize = 128;
const STRETCH: usize = 64;

/// The most blocks that add up columns, which is the same on every GPU, so that sums are: an H100 holds half as many at once.
const BLOCKS: usize = 1056;

/// How work on (rows, dim) is cut.
struct Cut {
    /// Blocks side by side.
    tiles: usize,
    /// Parts of the rows whose sums are joined in order.
    parts: usize,
    /// Blocks for a pass that writes every number.
    blocks: usize,
}

fn cut(rows: usize, dim: usize) -> Cut {
    let tiles = dim.div_ceil(COLUMNS);
    let parts = rows.div_ceil(CHUNK).min((BLOCKS / tiles.max(1)).max(1));
    Cut { tiles, parts, blocks: tiles * rows.div_ceil(STRETCH) }
}

impl Cut {
    /// Room for two numbers of each column and part, if there are any.
    fn partial(&self, gpu: &Gpu, dim: usize) -> Result<Memory, CudaError> {
        gpu.unwritten(Kind::F32, (self.parts * 2 * dim).max(1))
    }

    fn sums(&self) -> Launch {
        Launch::blocks(self.tiles * self.parts, 256)
    }

    fn writes(&self) -> Launch {
        Launch::blocks(self.blocks, 256)
    }
}

/// Training mode: y = (x - mean) · rstd · gain + bias + residual with this batch's mean and biased variance, all (dim) kept;
/// under `relu` the larger of that and 0.
pub fn forward(
    gpu: &Gpu,
    rows: usize,
    dim: usize,
    eps: f32,
    relu: bool,
    x: View<'_>,
    gain: View<'_>,
    bias: View<'_>,
    residual: Option<View<'_>>,
    y: ViewMut<'_>,
    mut mean: ViewMut<'_>,
    mut variance: ViewMut<'_>,
    mut rstd: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([x.len(), y.len()], [rows * dim; 2], "x and y of a batch norm");
    assert_eq!([mean.len(), variance.len(), rstd.len()], [dim; 3], "statistics of a batch norm");
    if dim == 0 {
        return Ok(());
    }
    let cut = cut(rows, dim);
    let (count, width, parts) = (rows as i64, dim as i32, cut.parts as i32);
    // without rows there are no parts, and the statistics are those of nothing, NaN
    let partial = cut.partial(gpu, dim)?;
    launch!(gpu, "batch_norm_statistics", cut.sums(); count, width, cut.tiles as u32, parts, x, partial)?;
    let join = Launch::blocks(dim.div_ceil(32), 1024);
    launch!(gpu, "batch_norm_join", join; count, width, parts, eps, partial, mean.lend(), variance.lend(), rstd.lend())?;
    shift(gpu, rows, dim, None, relu, x, gain, bias, residual, mean.as_view(), rstd.as_view(), y)
}

/// Evaluation mode: the same with given statistics.
pub fn apply(
    gpu: &Gpu,
    rows: usize,
    dim: usize,
    eps: f32,
    relu: bool,
    x: View<'_>,
    gain: View<'_>,
    bias: View<'_>,
    residual: Option<View<'_>>,
    mean: View<'_>,
    variance: View<'_>,
    y: ViewMut<'_>,
) -> Result<(), CudaError> {
    shift(gpu, rows, dim, Some(eps), relu, x, gain, bias, residual, mean, variance, y)
}

/// y by mean and rstd, or by mean and variance where `eps` is to be added.
fn shift(
    gpu: &Gpu,
    rows: usize,
    dim: usize,
    eps: Option<f32>,
    relu: bool,
    x: View<'_>,
    gain: View<'_>,
    bias: View<'_>,
    residual: Option<View<'_>>,
    mean: View<'_>,
    spread: View<'_>,
    y: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([x.len(), y.len()], [rows * dim; 2], "x and y of a batch norm");
    assert_eq!([gain.len(), bias.len(), mean.len(), spread.len()], [dim; 4], "parameters of a batch norm");
    assert!(residual.is_none_or(|r| r.len() == x.len()), "the residual of a batch norm");
    let cut = cut(rows, dim);
    let (add, eps) = (i32::from(eps.is_some()), eps.unwrap_or(0.0));
    launch!(gpu, "batch_norm_shift", cut.writes(); rows as i64, dim as i32, cut.tiles as u32, add, eps, i32::from(relu), x, gain, bias,
        residual, mean, spread, y)
}

/// The gradient of training mode; dx, dresidual, dgain and dbias are added to. `y` is what [`forward`] gave under `relu`.
pub fn backward(
    gpu: &Gpu,
    rows: usize,
    dim: usize,
    dy: View<'_>,
    y: Option<View<'_>>,
    x: View<'_>,
    gain: View<'_>,
    mean: View<'_>,
    rstd: View<'_>,
    dx: ViewMut<'_>,
    dresidual: Option<ViewMut<'_>>,
    dgain: ViewMut<'_>,
    dbias: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([dy.len(), x.len(), dx.len()], [rows * dim; 3], "dy, x, dx of a batch norm");
    assert!(y.is_none_or(|y| y.len() == dy.len()), "y of a batch norm");
    assert!(
        dresidual.as_ref().is_none_or(|d| d.len() == dy.len()),
        "the gradient of a batch norm's residual"
    );
    assert_eq!([gain.len(), mean.len(), rstd.len()], [dim; 3], "gain and statistics of a batch norm");
    assert_eq!([dgain.len(), dbias.len()], [dim; 2], "gradients of a batch norm");
    if rows * dim == 0 {
        return Ok(());
    }
    let cut = cut(rows, dim);
    let (count, width, tiles, parts) = (rows as i64, dim as i32, cut.tiles as u32, cut.parts as i32);
    let (partial, sums) = (cut.partial(gpu, dim)?, gpu.unwritten(Kind::F32, 2 * dim)?);
    launch!(gpu, "batch_norm_sums", cut.sums(); count, width, tiles, parts, dy, y, x, mean, rstd, partial)?;
    let join = Launch::blocks((2 * dim).div_ceil(32), 1024);
    launch!(gpu, "batch_norm_join_sums", join; width, parts, partial, sums, dgain, dbias)?;
    launch!(gpu, "batch_norm_backward", cut.writes(); count, width, tiles, dy, y, x, gain, mean, rstd, sums, dx, dresidual)
}

#[cfg(test)]
mod tests;
