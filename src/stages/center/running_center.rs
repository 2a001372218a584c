//! The running mean of the teacher's logits.

use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::runtime::stage::{SavedTensor, StageError, State};
use crate::tensor::{Batched, Device};

/// A centre (K) that moves once a step: momentum · centre + (1 - momentum) · mean of the rows.
pub struct RunningCenter<D: Device> {
    momentum: f64,
    /// None before the first step, when it is zero.
    center: Option<Batched<D>>,
    /// The centre after this step, not yet committed.
    pending: Option<Batched<D>>,
    device: D,
}

impl<D: Device> RunningCenter<D> {
    pub fn new(momentum: f64, device: &D) -> Self {
        RunningCenter { momentum, center: None, pending: None, device: device.clone() }
    }

    /// The centre from before this step; none while it is zero.
    pub fn now(&self) -> Option<&Batched<D>> {
        self.center.as_ref()
    }

    /// What was pending holds from here on.
    pub fn commit(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.center = Some(pending);
        }
    }

    pub fn save(&self) -> Result<State, StageError> {
        let Some(center) = &self.center else { return Ok(State::new()) };
        let saved = SavedTensor::F32 { dims: center.dims.clone(), values: center.to_host().map_err(failed)? };
        Ok(State::from([("center".into(), saved)]))
    }

    pub fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        self.center = match state.remove("center") {
            None => None,
            Some(SavedTensor::F32 { dims, values }) => {
                Some(Batched::from_host(&self.device, values, dims, None).map_err(failed)?)
            }
            Some(_) => return Err(StageError::Restore("center does not hold 32-bit floats".into())),
        };
        Ok(())
    }
}

impl<D: Kernels> RunningCenter<D> {
    /// Moves towards the mean of the rows, pending; the length of where it will be.
    pub fn follow(&mut self, logits: &Batched<D>, rows: usize) -> Result<f64, D::Err> {
        let k = logits.dims[logits.dims.len() - 1];
        let mut mean = Batched::empty(&self.device, vec![k], None)?;
        self.device.column_mean(rows, k, logits.view(), mean.view_mut())?;
        // a copy: until the step commits, the centre is where it was
        let mut moved = match &self.center {
            Some(center) => {
                let mut copy = Batched::empty(&self.device, vec![k], None)?;
                self.device.copy_to(0, center.view(), copy.view_mut())?;
                copy
            }
            None => Batched::from_host(&self.device, vec![0.0; k], vec![k], None)?,
        };
        self.device.lerp(moved.view_mut(), mean.view(), self.momentum)?;
        let length = self.device.sum_of_squares(moved.view())?.sqrt();
        self.pending = Some(moved);
        Ok(length)
    }
}
