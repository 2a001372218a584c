//! The residual stream: what goes through a transformer's blocks, and what each half of one adds to.

use std::sync::Arc;

use dfdx::prelude::{Const, HasShape, NoneTape, Tensor};

use crate::kernels::{Kernels, Products};
use crate::tensor::Float;

pub(super) type Tokens<const W: usize, D, T = NoneTape> = Tensor<(usize, usize, Const<W>), Float, D, T>;

/// Tokens (images, tokens, W) in f32.
///
/// Within blocks they are no dfdx tensors: dfdx clears whatever it makes, which on a GPU is a pass over the memory for each half.
pub struct Stream<const W: usize, D: Kernels> {
    numbers: Numbers<W, D>,
    images: usize,
    tokens: usize,
}

enum Numbers<const W: usize, D: Kernels> {
    Entered(Tokens<W, D>),
    Own(Arc<D::Activations>),
}

impl<const W: usize, D: Kernels> Clone for Stream<W, D> {
    /// Another handle to the same numbers.
    fn clone(&self) -> Self {
        let numbers = match &self.numbers {
            Numbers::Entered(x) => Numbers::Entered(x.clone()),
            Numbers::Own(numbers) => Numbers::Own(numbers.clone()),
        };
        Stream { numbers, ..*self }
    }
}

impl<const W: usize, D: Kernels> Stream<W, D> {
    /// Tokens as they come to the first block.
    pub(super) fn enter(x: Tokens<W, D>) -> Self {
        let (images, tokens, _) = *x.shape();
        Stream { numbers: Numbers::Entered(x), images, tokens }
    }

    /// So many tokens, which `write` overwrites.
    pub(super) fn written(
        device: &D,
        images: usize,
        tokens: usize,
        write: impl FnOnce(&mut D::Activations) -> Result<(), D::Err>,
    ) -> Result<Self, D::Err> {
        let mut numbers = device.activations(Products::F32, images * tokens * W)?;
        write(&mut numbers)?;
        Ok(Stream { numbers: Numbers::Own(Arc::new(numbers)), images, tokens })
    }

    pub fn images(&self) -> usize {
        self.images
    }

    /// Of each image.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub(super) fn view(&self) -> D::View<'_> {
        match &self.numbers {
            Numbers::Entered(x) => D::view(x),
            Numbers::Own(numbers) => D::wide(numbers),
        }
    }

    /// The first token of each image, (images, W), never traced.
    pub fn first_tokens(&self, device: &D) -> Result<Tensor<(usize, Const<W>), Float, D>, D::Err> {
        let mut first = device.empty((self.images, Const::<W>))?;
        device.first_tokens(self.images, self.tokens, 1, W, self.view(), D::view_mut(&mut first))?;
        Ok(first)
    }

    /// The tokens as a tensor.
    pub(super) fn leave(self, device: &D) -> Result<Tokens<W, D>, D::Err> {
        let view = match &self.numbers {
            Numbers::Entered(x) => return Ok(x.clone()),
            Numbers::Own(numbers) => D::wide(numbers),
        };
        let mut y = device.empty((self.images, self.tokens, Const::<W>))?;
        device.copy_to(0, view, D::view_mut(&mut y))?;
        Ok(y)
    }
}
