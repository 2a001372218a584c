//! Images to tokens: patches projected, CLS before them, positions added.

use dfdx::prelude::{Const, PutTape, Tape, Tensor};

use super::{take, with_gradients};
use crate::kernels::Kernels;
use crate::nn::vit::PatchEmbed;
use crate::tensor::{Batched, Float};

/// Patches down and across an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub height: usize,
    pub width: usize,
}

impl Grid {
    /// Patches in all.
    pub fn patches(self) -> usize {
        self.height * self.width
    }
}

/// Images (…, 3, height, width) of a flat tensor to (images, 1 + patches, W). `positions` is the grid that the position
/// embeddings are laid out for; they are resampled where the images' own grid differs.
pub fn embed<const W: usize, const P: usize, D: Kernels, T: Tape<Float, D>>(
    images: &Batched<D>,
    embed: &PatchEmbed<W, P, D>,
    positions: Grid,
    mut tape: T,
) -> Result<Tensor<(usize, usize, Const<W>), Float, D, T>, D::Err> {
    let device = images.flat.device().clone();
    let axes = images.dims.len();
    let (height, width) = (images.dims[axes - 2], images.dims[axes - 1]);
    let batch = images.dims[..axes - 3].iter().product::<usize>();
    let grid = Grid { height: height / P, width: width / P };
    let (patches, inp) = (grid.patches(), 3 * P * P);
    let mut unfolded = device.empty((batch * patches * inp,))?;
    device.unfold(batch, height, width, P, images.view(), D::view_mut(&mut unfolded))?;
    let mut projected = device.empty((batch * patches * W,))?;
    let (weight, bias) = (D::view(&embed.proj), Some(D::view(&embed.proj_bias)));
    device.linear(batch * patches, inp, W, D::view(&unfolded), weight, bias, D::view_mut(&mut projected))?;
    let mut pos = device.empty(((1 + patches) * W,))?;
    let (grid_pos, pos_out) = (D::view(&embed.pos_embed), D::view_mut(&mut pos));
    device.interpolate(positions.height, positions.width, grid.height, grid.width, W, grid_pos, pos_out)?;
    let mut tokens = device.empty((batch, 1 + patches, Const::<W>))?;
    let (cls, out) = (D::view(&embed.cls_token), D::view_mut(&mut tokens));
    device.assemble(batch, patches, W, D::view(&projected), cls, D::view(&pos), out)?;
    if T::OWNS_TAPE {
        let (embed, tokens) = (embed.clone(), tokens.ghost());
        tape.add_backward_op(move |grads| {
            let dtokens = take(&device, grads.get_or_alloc_mut(&tokens)?)?;
            let mut dprojected = device.zeroed(batch * patches * W)?;
            let mut dpos_here = device.zeroed((1 + patches) * W)?;
            with_gradients!(&device, grads; dcls = &embed.cls_token => {
                let (dprojected, dpos_here) = (D::buffer_mut(&mut dprojected), D::buffer_mut(&mut dpos_here));
                device.assemble_backward(batch, patches, W, D::buffer(&dtokens), dprojected, D::buffer_mut(&mut dcls), dpos_here)?;
            });
            with_gradients!(&device, grads; dpos = &embed.pos_embed => {
                let from = D::buffer(&dpos_here);
                device.interpolate_backward(
                    positions.height, positions.width, grid.height, grid.width, W, from, D::buffer_mut(&mut dpos),
                )?;
            });
            with_gradients!(&device, grads; dw = &embed.proj, db = &embed.proj_bias => {
                let dy = D::buffer(&dprojected);
                device.linear_backward_weight(batch * patches, inp, W, dy, D::view(&unfolded), D::buffer_mut(&mut dw))?;
                device.linear_backward_bias(batch * patches, W, dy, D::buffer_mut(&mut db))?;
            });
            Ok(())
        });
    }
    Ok(tokens.put_tape(tape))
}
