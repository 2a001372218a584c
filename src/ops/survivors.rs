//! Stochastic depth (Huang et al. 2016): a residual branch works on the images that it keeps, and on no others.

use dfdx::prelude::{Const, HasShape, Tensor};

use crate::kernels::Kernels;
use crate::tensor::{Buffer, Float};

/// The images that one branch keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Survivors {
    /// Their places in the group, ascending.
    pub images: Vec<usize>,
    /// What the branch's output is multiplied by, 1 / the probability of staying.
    pub scale: f32,
}

type Tokens<const W: usize, D> = Tensor<(usize, usize, Const<W>), Float, D>;

/// What a branch works on: the kept images of x, or all of x where nothing is dropped.
pub(super) fn kept<const W: usize, D: Kernels>(
    device: &D,
    x: Tokens<W, D>,
    survivors: Option<&Survivors>,
) -> Result<Tokens<W, D>, D::Err> {
    let Some(survivors) = survivors else { return Ok(x) };
    let tokens = x.shape().1;
    let mut kept = device.empty((survivors.images.len(), tokens, Const))?;
    device.gather_images(tokens * W, &survivors.images, 1.0, D::view(&x), D::view_mut(&mut kept))?;
    Ok(kept)
}

/// The gradient of a branch's output, of `tokens` tokens an image: that of the kept images, scaled as they were; or nothing
/// where `dy` itself is it.
pub(super) fn kept_gradient<D: Kernels>(
    device: &D,
    dy: &Buffer<D>,
    survivors: Option<&Survivors>,
    length: usize,
) -> Result<Option<Buffer<D>>, D::Err> {
    let Some(Survivors { images, scale }) = survivors else { return Ok(None) };
    let mut kept = device.zeroed(images.len() * length)?;
    device.gather_images(length, images, *scale, D::buffer(dy), D::buffer_mut(&mut kept))?;
    Ok(Some(kept))
}
