//! Batch norm with its two ways of taking statistics: from the batch in training, from what was seen before in evaluation.

use dfdx::prelude::{HasShape, PutTape, SplitTape, Tape, Tensor};

use super::parameter::{Parameters, parameters};
use super::statistics::Averages;
use crate::kernels::Kernels;
use crate::ops::{self, Statistics};
use crate::tensor::{Device, Float};

/// Where a pass's batch norms take their statistics from.
pub enum Norms<'a> {
    /// From the batch; what each saw is left here under its published key.
    Batch(Vec<(String, Statistics)>),
    /// From the running values. Such a pass is never traced.
    Running(&'a Averages),
}

impl Norms<'_> {
    /// What the norms of a pass in training saw.
    pub fn seen(self) -> Vec<(String, Statistics)> {
        match self {
            Norms::Batch(seen) => seen,
            Norms::Running(_) => Vec::new(),
        }
    }
}

/// Batch norm over rows. PyTorch equivalent: `BatchNorm1d`, or `BatchNorm2d` on maps.
#[derive(Clone, Debug)]
pub struct BatchNorm<D: Device> {
    gain: Tensor<(usize,), Float, D>,
    bias: Tensor<(usize,), Float, D>,
}

impl<D: Device> Parameters<D> for BatchNorm<D> {
    parameters!(self: gain "weight" [self.gain.shape().0], bias "bias" [self.bias.shape().0]);
}

type Rows<D, T> = Tensor<(usize, usize), Float, D, T>;

impl<D: Kernels> BatchNorm<D> {
    pub fn zeros(device: &D, width: usize) -> Result<Self, D::Err> {
        Ok(BatchNorm { gain: device.try_zeros_like(&(width,))?, bias: device.try_zeros_like(&(width,))? })
    }

    /// (rows, width) to the same: normalised, `residual` added, and what is below 0 made 0 under `relu`. `key` is the published one.
    pub fn forward<T: Tape<Float, D>>(
        &self,
        x: Rows<D, T>,
        residual: Option<&Tensor<(usize, usize), Float, D>>,
        relu: bool,
        key: String,
        norms: &mut Norms<'_>,
    ) -> Result<Rows<D, T>, D::Err> {
        match norms {
            Norms::Batch(seen) => {
                let (y, statistics) = ops::batch_norm(x, &self.gain, &self.bias, residual, relu)?;
                seen.push((key, statistics));
                Ok(y)
            }
            Norms::Running(averages) => {
                debug_assert!(!T::OWNS_TAPE, "an evaluation is not traced");
                let (x, tape) = x.split_tape();
                let given = averages.of(&key, x.shape().1);
                let y = ops::batch_norm_by(x, &self.gain, &self.bias, residual, relu, given)?;
                Ok(y.put_tape(tape))
            }
        }
    }
}
