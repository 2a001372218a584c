//! What turns pictures into features: one trait over transformers and residual networks.

use dfdx::prelude::{Const, Merge, Tape, Tensor};

use super::batch_norm::Norms;
use super::network::{Asked, DropPath};
use super::parameter::Parameters;
use crate::kernels::Kernels;
use crate::tensor::{Batched, Device, Float};

/// Typed tokens of a batch of images.
pub type Tokens<const W: usize, D, T = dfdx::prelude::NoneTape> =
    Tensor<(usize, usize, Const<W>), Float, D, T>;

/// What a pass is about, beside its pictures.
pub struct Pass<'a, D: Kernels> {
    pub asked: Asked,
    pub drop_path: Option<DropPath>,
    /// Views of each picture that went through before.
    pub first_view: usize,
    pub norms: Norms<'a, D>,
}

/// What a backbone gives for one group of images of equal size.
pub struct Features<const W: usize, D: Device, T> {
    /// (images, W): a transformer's CLS token, a residual network's mean over positions.
    pub cls: Tensor<(usize, Const<W>), Float, D, T>,
    /// (images, 1 + patches, W) after the last norm, registers left out, when patches are asked of a transformer.
    pub tokens: Option<Tokens<W, D>>,
    /// (views, batch, heads, 1 + patches), registers left out, when attention is asked of a transformer.
    pub attention: Option<Batched<D>>,
    /// (images, W) after the last norm for each of the last blocks that are asked of a transformer, earliest first.
    pub blocks: Vec<Tensor<(usize, Const<W>), Float, D>>,
}

/// A network from pictures to features of width `W`.
pub trait Backbone<const W: usize, D: Kernels>: Parameters<D> + Clone + 'static {
    /// Images (views, batch, 3, height, width) to features.
    fn forward<T: Tape<Float, D> + Merge<T>>(
        &self,
        images: &Batched<D>,
        pass: &mut Pass<'_, D>,
        tape: T,
    ) -> Result<Features<W, D, T>, D::Err>;
}
