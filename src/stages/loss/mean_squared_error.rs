//! `loss`: mean squared error between rows of unit length (BYOL's loss; the paper's table 7).
use serde::{Deserialize, Serialize};

use super::unit::Unit;
use super::{LOGITS, Measure, Measured, Pairs, TEACHER};
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::runtime::stage::{Inputs, Moment, StageError};
use crate::stages::declare::*;
use crate::stages::range::Ranges;
use crate::tensor::{Batched, Device};

/// Mean over pairs (teacher view i, student view v, v ≠ i) and the batch of ‖s/‖s‖ - t/‖t‖‖², which is 2 - 2 cos. Inputs `logits`,
/// `teacher`, and `cls` for KoLeo; output `loss`.
#[derive(Clone, Default, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeanSquaredError {
    /// The weight of KoLeo, which is added to the loss.
    pub koleo: f64,
}

/// What the logits are held against.
const AGAINST: Option<&str> = Some("teacher");

/// Rows shorter than this are scaled as if they were so long.
const EPS: f32 = 1e-12;

impl Declare for MeanSquaredError {
    fn role(&self) -> Role {
        Role::Loss
    }

    fn rate(&self) -> Rate {
        Rate::Micro
    }

    fn ports(&self) -> Ports {
        super::ports()
    }

    fn uses(&self, input: &str) -> Use {
        super::uses(input, AGAINST, self.koleo)
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        super::judge_koleo(self.koleo, &mut ranges, scope);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        super::infer(given, AGAINST)
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        super::cost(12.0, 2.0, self.koleo, scope, given)
    }
}

/// The running measure.
pub struct Between<D: Device> {
    device: D,
}

impl<D: Device> Between<D> {
    pub fn new(device: &D) -> Self {
        Between { device: device.clone() }
    }
}

impl<D: Kernels> Measure<D> for Between<D> {
    fn measure(
        &mut self,
        _: &Moment,
        pairs: Pairs,
        inputs: &Inputs<'_, D>,
    ) -> Result<Measured<D>, StageError> {
        let student = Unit::of(&self.device, inputs.tensor(LOGITS)?, EPS).map_err(failed)?;
        let teacher = Unit::of(&self.device, inputs.tensor(TEACHER)?, EPS).map_err(failed)?;
        let dims = student.rows.dims.clone();
        let mut gradient = Batched::empty(&self.device, dims, student.rows.batch).map_err(failed)?;
        let loss = self.device.squared_distances(
            pairs.globals,
            pairs.views,
            pairs.batch,
            pairs.k,
            student.rows.view(),
            teacher.rows.view(),
            pairs.weight,
            gradient.view_mut(),
        );
        let loss = loss.map_err(failed)?;
        Ok((loss, student.back(&self.device, &gradient).map_err(failed)?))
    }
}
