//! Batch norm with its two ways of taking statistics: from the batch in training, from what was seen before in evaluation.

use dfdx::prelude::{HasShape, PutTape, SplitTape, Tape, Tensor};

use super::parameter::{Parameters, parameters};
use super::statistics::Averages;
use crate::kernels::Kernels;
use crate::ops::{self, Seen, Statistics};
use crate::tensor::{Device, Float};

/// Where a pass's batch norms take their statistics from.
pub enum Norms<'a, D: Kernels> {
    /// From the batch; what each saw is left here under its published key.
    Batch(Vec<(String, Seen<D>)>),
    /// From the running values. Such a pass is never traced.
    Running(&'a Averages),
}

impl<D: Kernels> Norms<'_, D> {
    /// What the norms of a pass in training saw.
    pub fn seen(self, device: &D) -> Result<Vec<(String, Statistics)>, D::Err> {
        let Norms::Batch(seen) = self else { return Ok(Vec::new()) };
        if seen.is_empty() {
            return Ok(Vec::new());
        }
        let (keys, seen): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
        Ok(keys.into_iter().zip(Seen::read(device, &seen)?).collect())
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
        norms: &mut Norms<'_, D>,
    ) -> Result<Rows<D, T>, D::Err> {
        match norms {
            Norms::Batch(seen) => {
                let (y, saw) = ops::batch_norm(x, &self.gain, &self.bias, residual, relu)?;
                seen.push((key, saw));
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
