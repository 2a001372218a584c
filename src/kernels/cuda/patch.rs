//! Images to patch rows, and patches with CLS token and position embeddings to tokens.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::view::{View, ViewMut};

/// Images (batch, 3, height, width) to rows (batch, height/patch · width/patch, 3 · patch · patch), in the order
/// (channel, y, x) of a convolution's weight.
pub fn unfold(
    gpu: &Gpu,
    batch: usize,
    height: usize,
    width: usize,
    patch: usize,
    images: View<'_>,
    rows: ViewMut<'_>,
) -> Result<(), CudaError> {
    let (grid_h, grid_w) = (height / patch, width / patch);
    assert_eq!(images.len(), batch * 3 * height * width, "images are (batch, 3, height, width)");
    assert_eq!(
        rows.len(),
        batch * grid_h * grid_w * 3 * patch * patch,
        "rows are (batch, patches, 3 patch²)"
    );
    let launch = Launch::blocks(batch * grid_h, 256);
    launch!(gpu, "patch_unfold", launch; height as i32, width as i32, patch as i32, images, rows)
}

/// tokens (batch, 1 + registers + patches, dim): the CLS token; `lead` (registers, dim) as they are; then `projected` (batch, patches,
/// dim). CLS and patches get their positions, pos (1 + patches, dim).
pub fn assemble(
    gpu: &Gpu,
    batch: usize,
    registers: usize,
    patches: usize,
    dim: usize,
    projected: View<'_>,
    cls: View<'_>,
    lead: Option<View<'_>>,
    pos: View<'_>,
    tokens: ViewMut<'_>,
) -> Result<(), CudaError> {
    let total = batch * (1 + registers + patches);
    assert_eq!([projected.len(), tokens.len()], [batch * patches * dim, total * dim], "patches and tokens");
    assert_eq!([cls.len(), pos.len()], [dim, (1 + patches) * dim], "CLS token and position embeddings");
    assert_eq!(lead.map_or(0, View::len), registers * dim, "registers");
    launch!(gpu, "patch_assemble", Launch::warps(total, 128); total as i64, registers as i32, patches as i32, dim as i32,
        projected, cls, lead, pos, tokens)
}

/// dprojected overwritten; dcls, dlead and dpos added to, sums over the images of `dtokens` in order.
pub fn assemble_backward(
    gpu: &Gpu,
    batch: usize,
    registers: usize,
    patches: usize,
    dim: usize,
    dtokens: View<'_>,
    dprojected: ViewMut<'_>,
    dcls: ViewMut<'_>,
    dlead: Option<ViewMut<'_>>,
    dpos: ViewMut<'_>,
) -> Result<(), CudaError> {
    let outer = (1 + registers + patches) * dim;
    assert_eq!(
        [dprojected.len(), dtokens.len()],
        [batch * patches * dim, batch * outer],
        "patches and tokens"
    );
    assert_eq!([dcls.len(), dpos.len()], [dim, (1 + patches) * dim], "CLS token and position embeddings");
    assert_eq!(dlead.as_ref().map_or(0, ViewMut::len), registers * dim, "registers");
    // sums are added one by one: only what is read and written four at a time needs its boundaries
    let fours = dim.is_multiple_of(4) && (dtokens.pointer() | dprojected.pointer()).is_multiple_of(16);
    let (kernel, width) =
        if fours { ("patch_assemble_backward_fours", 128) } else { ("patch_assemble_backward_ones", 32) };
    launch!(gpu, kernel, Launch::blocks(outer.div_ceil(width), 256); batch as i32, registers as i32, patches as i32, dim as i32,
        dtokens, dprojected, dcls, dlead, dpos)
}

#[cfg(test)]
mod tests;
