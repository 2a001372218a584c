//! A network as protocols ask it, whatever device it lives on: pixels in, numbers of the host out.

use super::features::Judged;
use crate::kernels::Kernels;
use crate::nn::network::{Asked, Lent};
use crate::nn::statistics::Averages;
use crate::nn::weights::failed;
use crate::runtime::stage::StageError;
use crate::tensor::{Batched, Device};

/// Something that answers what features are made of.
pub trait Extractor {
    /// Width of the features.
    fn width(&self) -> usize;

    /// What it says of pictures (n, 3, height, width).
    ///
    /// # Errors
    /// When the device fails.
    fn answer(&self, pixels: Vec<f32>, size: (usize, usize), asked: Asked) -> Result<Told, StageError>;
}

/// An answer on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// (n, width).
    pub cls: Vec<f32>,
    /// (n, 1 + patches, width), CLS first, when asked.
    pub tokens: Option<Tokens>,
    /// (n, heads, 1 + patches), when asked.
    pub attention: Option<Vec<f32>>,
    /// For each of the last blocks that were asked of a transformer, earliest first: (n, width).
    pub blocks: Vec<Vec<f32>>,
}

/// Tokens after the last norm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens {
    pub numbers: Vec<f32>,
    /// Tokens of a picture.
    pub count: usize,
    pub width: usize,
}

/// A network where it lives, with what its batch norms saw in training.
pub struct Placed<D: Device> {
    pub device: D,
    pub network: Lent<D>,
    pub averages: Averages,
}

impl<D: Kernels> Extractor for Placed<D> {
    fn width(&self) -> usize {
        self.network.width()
    }

    fn answer(&self, pixels: Vec<f32>, size: (usize, usize), asked: Asked) -> Result<Told, StageError> {
        let judged = Judged { network: &**self.network, averages: &self.averages };
        let answer = judged.answer(&self.device, pixels, size, asked)?;
        let host = |tensor: &Batched<D>| tensor.to_host().map_err(failed);
        // pictures of one size are one group
        let tokens = answer.tokens.first().map(|tokens| {
            let (count, width) = (tokens.dims[2], tokens.dims[3]);
            Ok(Tokens { numbers: host(tokens)?, count, width })
        });
        Ok(Told {
            cls: host(&answer.cls)?,
            tokens: tokens.transpose()?,
            attention: answer.attention.first().map(host).transpose()?,
            blocks: answer.blocks.first().into_iter().flatten().map(host).collect::<Result<_, _>>()?,
        })
    }
}

impl Extractor for Box<dyn Extractor> {
    fn width(&self) -> usize {
        (**self).width()
    }

    fn answer(&self, pixels: Vec<f32>, size: (usize, usize), asked: Asked) -> Result<Told, StageError> {
        (**self).answer(pixels, size, asked)
    }
}
