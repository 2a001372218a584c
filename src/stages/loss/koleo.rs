//! KoLeo as an added term: it spreads the features of a batch by pushing each from its nearest neighbour (Sablayrolles et al. 2019).

use super::Pairs;
use super::unit::Unit;
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::runtime::stage::StageError;
use crate::tensor::{Batched, Device};

/// Of the backbone's CLS tokens, before the head.
const EPS: f32 = 1e-8;

/// The term with its weight, and the gradient that waits for the backward firing.
pub struct Koleo<D: Device> {
    weight: f64,
    gradient: Option<Batched<D>>,
    device: D,
}

impl<D: Device> Koleo<D> {
    pub fn new(weight: f64, device: &D) -> Self {
        Koleo { weight, gradient: None, device: device.clone() }
    }

    /// The gradient in `cls`, once.
    pub fn gradient(&mut self) -> Option<Batched<D>> {
        self.gradient.take()
    }
}

impl<D: Kernels> Koleo<D> {
    /// The sum over the global views, without the weight, from cls (V, B, D); none where the weight is 0.
    pub fn fire(&mut self, pairs: Pairs, cls: Option<&Batched<D>>) -> Result<Option<f64>, StageError> {
        if self.weight <= 0.0 {
            return Ok(None);
        }
        let cls = cls.ok_or_else(|| StageError::Bug("KoLeo got no features".into()))?;
        let width = cls.dims.last().copied().unwrap_or_default();
        let unit = Unit::of(&self.device, cls, EPS).map_err(failed)?;
        let mut gradient = Batched::empty(&self.device, cls.dims.clone(), cls.batch).map_err(failed)?;
        let (rows, weight) = (unit.rows.view(), self.weight as f32);
        let koleo = self.device.koleo(pairs.globals, pairs.batch, width, rows, weight, gradient.view_mut());
        let koleo = koleo.map_err(failed)?;
        if !koleo.is_finite() {
            return Err(StageError::NonFinite { what: "KoLeo".into() });
        }
        self.gradient = Some(unit.back(&self.device, &gradient).map_err(failed)?);
        Ok(Some(koleo))
    }
}
