//! Images to tokens: patches projected, CLS before them, positions added.

use dfdx::prelude::{Const, PutTape, SplitTape, Tape, Tensor};

use super::conv_layer::{Extent, conv_layer};
use super::{linear, take, with_gradients};
use crate::kernels::{Kernels, Products};
use crate::nn::stem::Stem;
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

/// Projected patches: (images · patches, W).
type Projected<const W: usize, D, T> = Tensor<(usize, Const<W>), Float, D, T>;

/// Images (…, 3, height, width) of a flat tensor to (images, 1 + registers + patches, W). `positions` is the grid that the position
/// embeddings are laid out for; they are resampled where the images' own grid differs.
pub fn embed<const W: usize, const P: usize, D: Kernels, T: Tape<Float, D>>(
    images: &Batched<D>,
    embed: &PatchEmbed<W, P, D>,
    positions: Grid,
    products: Products,
    tape: T,
) -> Result<Tensor<(usize, usize, Const<W>), Float, D, T>, D::Err> {
    let axes = images.dims.len();
    let (height, width) = (images.dims[axes - 2], images.dims[axes - 1]);
    let extent = Extent { images: images.dims[..axes - 3].iter().product(), height, width };
    let projected = match &embed.stem {
        Stem::Patch { proj, bias } => project_patches(images, extent, proj, bias, products, tape)?,
        Stem::Conv { layers, proj, bias } => {
            let (mut extent, pixels) = (extent, images.flat.device().clone());
            let mut maps = pixels.empty((extent.rows(), 3))?;
            pixels.channels_last(extent.images, 3, height * width, images.view(), D::view_mut(&mut maps))?;
            let mut maps = maps.put_tape(tape);
            for (i, layer) in layers.iter().enumerate() {
                maps = conv_layer(maps, extent, layer, i == 0, products)?;
                extent = extent.halved();
            }
            linear(maps, proj, bias, products)?
        }
    };
    let grid = Grid { height: height / P, width: width / P };
    assemble(projected, (extent.images, grid), embed, positions)
}

/// Each patch of pixels projected. PyTorch equivalent: `Conv2d(3, W, P, stride=P)`, channels last.
fn project_patches<const W: usize, const P: usize, D: Kernels, T: Tape<Float, D>>(
    images: &Batched<D>,
    Extent { images: batch, height, width }: Extent,
    proj: &Tensor<(Const<W>, Const<3>, Const<P>, Const<P>), Float, D>,
    bias: &Tensor<(Const<W>,), Float, D>,
    products: Products,
    mut tape: T,
) -> Result<Projected<W, D, T>, D::Err> {
    let device = images.flat.device().clone();
    let (rows, inp) = (batch * (height / P) * (width / P), 3 * P * P);
    let mut unfolded = device.empty((rows * inp,))?;
    device.unfold(batch, height, width, P, images.view(), D::view_mut(&mut unfolded))?;
    let mut projected = device.empty((rows, Const::<W>))?;
    let (x, y) = (D::view(&unfolded).into(), D::view_mut(&mut projected).into());
    device.linear(products, rows, inp, W, x, D::view(proj), Some(D::view(bias)), y)?;
    if T::OWNS_TAPE {
        let (proj, bias, projected) = (proj.clone(), bias.clone(), projected.ghost());
        tape.add_backward_op(move |grads| {
            let dprojected = take(&device, grads.get_or_alloc_mut(&projected)?)?;
            with_gradients!(&device, grads; dw = &proj, db = &bias => {
                let (dy, x) = (D::buffer(&dprojected).into(), D::view(&unfolded).into());
                device.linear_backward_weight(products, rows, inp, W, dy, x, D::buffer_mut(&mut dw))?;
                device.linear_backward_bias(rows, W, dy, D::buffer_mut(&mut db))?;
            });
            Ok(())
        });
    }
    Ok(projected.put_tape(tape))
}

/// CLS and registers before the patches of each image, positions added to CLS and patches.
fn assemble<const W: usize, const P: usize, D: Kernels, T: Tape<Float, D>>(
    projected: Projected<W, D, T>,
    (batch, grid): (usize, Grid),
    embed: &PatchEmbed<W, P, D>,
    positions: Grid,
) -> Result<Tensor<(usize, usize, Const<W>), Float, D, T>, D::Err> {
    let (projected, mut tape) = projected.split_tape();
    let device = embed.cls_token.device().clone();
    let (patches, registers) = (grid.patches(), embed.registers());
    let mut pos = device.empty(((1 + patches) * W,))?;
    let (grid_pos, pos_out) = (D::view(&embed.pos_embed), D::view_mut(&mut pos));
    device.interpolate(positions.height, positions.width, grid.height, grid.width, W, grid_pos, pos_out)?;
    let mut tokens = device.empty((batch, 1 + registers + patches, Const::<W>))?;
    let (cls, lead) = (D::view(&embed.cls_token), embed.registers.as_ref().map(|lead| D::view(lead)));
    let (from, pos, out) = (D::view(&projected), D::view(&pos), D::view_mut(&mut tokens));
    device.assemble(batch, registers, patches, W, from, cls, lead, pos, out)?;
    if T::OWNS_TAPE {
        let (cls, lead, pos) = (embed.cls_token.clone(), embed.registers.clone(), embed.pos_embed.clone());
        let (projected, tokens) = (projected.ghost(), tokens.ghost());
        tape.add_backward_op(move |grads| {
            let dtokens = take(&device, grads.get_or_alloc_mut(&tokens)?)?;
            let mut dpos_here = device.zeroed((1 + patches) * W)?;
            let mut dlead = match &lead {
                Some(lead) => Some(take(&device, grads.get_or_alloc_mut(lead)?)?),
                None => None,
            };
            with_gradients!(&device, grads; dprojected = &projected, dcls = &cls => {
                let (dy, dcls) = (D::buffer_mut(&mut dprojected), D::buffer_mut(&mut dcls));
                let (from, dlead) = (D::buffer(&dtokens), dlead.as_mut().map(|d| D::buffer_mut(d)));
                let dpos_here = D::buffer_mut(&mut dpos_here);
                device.assemble_backward(batch, registers, patches, W, from, dy, dcls, dlead, dpos_here)?;
            });
            if let (Some(lead), Some(dlead)) = (&lead, dlead) {
                *grads.get_or_alloc_mut(lead)? = dlead;
            }
            with_gradients!(&device, grads; dpos = &pos => {
                let from = D::buffer(&dpos_here);
                device.interpolate_backward(
                    positions.height, positions.width, grid.height, grid.width, W, from, D::buffer_mut(&mut dpos),
                )?;
            });
            Ok(())
        });
    }
    Ok(tokens.put_tape(tape))
}
