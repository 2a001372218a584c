//! `loss`: cross-entropy between the teacher's targets and the student's logits (equations 2 and 3).
use serde::{Deserialize, Serialize};

use super::{LOGITS, Measure, Measured, Pairs, TARGETS};
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::runtime::stage::{Inputs, Moment, StageError};
use crate::stages::declare::*;
use crate::stages::range::Ranges;
use crate::tensor::{Batched, Device};

/// Mean over pairs (teacher view i, student view v, v ≠ i) of the batch-mean cross-entropy. Inputs `logits`, `targets`, and `cls` for
/// KoLeo; output `loss`, in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CrossEntropy {
    /// The student's temperature.
    pub temperature: f64,
    /// The weight of KoLeo, which is added to the loss.
    pub koleo: f64,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        CrossEntropy { temperature: 0.1, koleo: 0.0 }
    }
}

/// What the logits are held against.
const AGAINST: Option<&str> = Some("targets");

impl Declare for CrossEntropy {
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
        ranges.number("temperature", self.temperature, |t| t > 0.0 && t < 1e6, "a number above 0");
        super::judge_koleo(self.koleo, &mut ranges, scope);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        super::infer(given, AGAINST)
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        super::cost(8.0, 0.0, self.koleo, scope, given)
    }
}

/// The running measure.
pub struct Against<D: Device> {
    temperature: f32,
    device: D,
}

impl<D: Device> Against<D> {
    pub fn new(stage: &CrossEntropy, device: &D) -> Self {
        Against { temperature: stage.temperature as f32, device: device.clone() }
    }
}

impl<D: Kernels> Measure<D> for Against<D> {
    fn measure(
        &mut self,
        _: &Moment,
        pairs: Pairs,
        inputs: &Inputs<'_, D>,
    ) -> Result<Measured<D>, StageError> {
        let (logits, targets) = (inputs.tensor(LOGITS)?, inputs.tensor(TARGETS)?);
        let mut gradient = Batched::empty(&self.device, logits.dims.clone(), logits.batch).map_err(failed)?;
        let loss = self.device.cross_entropy(
            pairs.globals,
            pairs.views,
            pairs.batch,
            pairs.k,
            logits.view(),
            targets.view(),
            self.temperature,
            pairs.weight,
            gradient.view_mut(),
        );
        Ok((loss.map_err(failed)?, gradient))
    }

    fn to_targets(&self) -> bool {
        true
    }
}
