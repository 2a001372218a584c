//! Copies of parts: an image's first tokens, rows that are named and the others, a stretch of rows.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::linear::passes::{add_stretches, stretches};
use super::view::{AnyMut, Kind, View, ViewMut};
use crate::kernels::Rows;

/// src (batch, tokens, dim) to dst (batch, keep, dim): the first `keep` tokens of each image.
pub fn first(
    gpu: &Gpu,
    batch: usize,
    tokens: usize,
    keep: usize,
    dim: usize,
    src: View<'_>,
    dst: ViewMut<'_>,
) -> Result<(), CudaError> {
    without(gpu, batch, tokens, keep, tokens - keep, dim, src, dst)
}

/// src (batch, tokens, dim) to dst (batch, tokens - count, dim): each image without `count` tokens from `from` on.
pub fn without(
    gpu: &Gpu,
    batch: usize,
    tokens: usize,
    from: usize,
    count: usize,
    dim: usize,
    src: View<'_>,
    dst: ViewMut<'_>,
) -> Result<(), CudaError> {
    let kept = tokens - count;
    assert!(from <= kept, "{count} of {tokens} tokens from {from} on");
    assert_eq!(
        [src.len(), dst.len()],
        [tokens, kept].map(|n| batch * n * dim),
        "tokens, and those that are kept"
    );
    Stretch { images: batch, kept: kept * dim, gap: count * dim, before: from * dim }.start(
        gpu,
        "tokens_copy",
        src,
        dst,
    )
}

/// dst (batch, tokens, dim) += src (batch, keep, dim) at the first `keep` tokens of each image.
pub fn add_first(
    gpu: &Gpu,
    batch: usize,
    tokens: usize,
    keep: usize,
    dim: usize,
    src: View<'_>,
    dst: ViewMut<'_>,
) -> Result<(), CudaError> {
    let gap = (tokens - keep) * dim;
    assert_eq!([src.len(), dst.len()], [keep, tokens].map(|n| batch * n * dim), "first tokens, and all");
    Stretch { images: batch, kept: keep * dim, gap, before: keep * dim }.start(gpu, "tokens_add", src, dst)
}

/// `kept` numbers of each image on one side, on the other `gap` more of them behind the first `before`.
struct Stretch {
    images: usize,
    kept: usize,
    gap: usize,
    before: usize,
}

impl Stretch {
    /// Starts a kernel with four numbers to a thread, and as many blocks for each image as that takes.
    fn start(
        self,
        gpu: &Gpu,
        kernel: &'static str,
        src: View<'_>,
        dst: ViewMut<'_>,
    ) -> Result<(), CudaError> {
        let fours = self.kept.div_ceil(4);
        let threads = fours.next_multiple_of(32).clamp(32, 256);
        let blocks = fours.div_ceil(threads);
        let launch = Launch::blocks(self.images * blocks, threads as u32);
        launch!(gpu, kernel, launch; self.kept as i64, self.gap as i64, self.before as i64, blocks as u32, src, dst)
    }
}

/// dst = scale · those rows of src that are named, db += the sums of dst's columns.
pub fn gather(
    gpu: &Gpu,
    rows: Rows<'_>,
    dim: usize,
    scale: f32,
    src: View<'_>,
    dst: AnyMut<'_>,
    db: ViewMut<'_>,
) -> Result<(), CudaError> {
    rows.assert_within(dim, src.len());
    assert_eq!(
        [dst.len(), db.len()],
        [rows.len() * dim, dim],
        "room for rows that are gathered and their sums"
    );
    if dst.is_empty() {
        return Ok(());
    }
    let kernel = match dst.kind() {
        Kind::F32 => "tokens_gather_f32",
        Kind::Bf16 => "tokens_gather_bf16",
        Kind::F16 => "tokens_gather_f16",
    };
    let (each, stretches) = stretches(rows.len());
    let parts = gpu.unwritten(Kind::F32, stretches * dim)?;
    let blocks = Launch::grid((dim.div_ceil(128), stretches, 1), 256);
    launch!(gpu, kernel, blocks; gpu.rows(rows)?, dim as i32, scale, each as i32, src, dst, parts)?;
    add_stretches(gpu, parts, stretches, dim, db)
}

/// dst = src in all rows but those that are named.
pub fn copy_others(
    gpu: &Gpu,
    rows: Rows<'_>,
    dim: usize,
    src: View<'_>,
    dst: ViewMut<'_>,
) -> Result<(), CudaError> {
    rows.assert_within(dim, src.len());
    assert_eq!(src.len(), dst.len(), "two matrices of the same rows");
    if matches!(rows, Rows::All(_)) {
        return Ok(());
    }
    let total = src.len() / dim;
    launch!(gpu, "tokens_others", Launch::warps(total, 128); gpu.rows(rows)?, total as i64, dim as i32, src, dst)
}

/// Writes `src` into `dst` from `offset` on.
pub fn copy_to(gpu: &Gpu, offset: usize, src: View<'_>, mut dst: ViewMut<'_>) -> Result<(), CudaError> {
    let to = dst.slice(offset..offset + src.len());
    Stretch { images: 1, kept: src.len(), gap: 0, before: src.len() }.start(gpu, "tokens_copy", src, to)
}

/// dst += the numbers of `src` from `offset` on.
pub fn add_from(gpu: &Gpu, offset: usize, src: View<'_>, dst: ViewMut<'_>) -> Result<(), CudaError> {
    let from = src.slice(offset..offset + dst.len());
    Stretch { images: 1, kept: dst.len(), gap: 0, before: dst.len() }.start(gpu, "tokens_add", from, dst)
}

#[cfg(test)]
mod tests;
