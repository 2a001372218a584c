//! `loss`: cross-entropy between the teacher's targets and the student's logits (equations 2 and 3).
use serde::{Deserialize, Serialize};

use super::declare::*;
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, Value};
use crate::tensor::{Batched, Device};

/// Mean over pairs (teacher view i, student view v, v ≠ i) of the batch-mean cross-entropy. Inputs `logits`, `targets`; output `loss`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CrossEntropy {
    /// The student's temperature.
    pub temperature: f64,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        CrossEntropy { temperature: 0.1 }
    }
}

impl Declare for CrossEntropy {
    fn role(&self) -> Role {
        Role::Loss
    }

    fn rate(&self) -> Rate {
        Rate::Micro
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![
                Port::new("logits", "the student's logits of every crop, (2+L, B, K)").differentiable(),
                Port::new("targets", "the teacher's targets, (2, B, K)"),
            ],
            outputs: vec![Port::new("loss", "the mean over pairs and pictures, in nats").optional()],
        }
    }

    fn problems(&self, _: &Scope) -> Vec<Problem> {
        let good = self.temperature > 0.0 && self.temperature.is_finite();
        Problem::unless(good, "temperature", self.temperature, "a number above 0").into_iter().collect()
    }

    fn infer(&self, _: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let dims = |port| match given.get(port) {
            Some(EdgeType::Tensor { dims, .. }) => Ok(Some(dims)),
            Some(_) => Err(given.mismatch(port, "(views, B, K)")),
            None => Ok(None),
        };
        let (logits, targets) = (dims("logits")?, dims("targets")?);
        if let (Some(logits), Some(targets)) = (logits, targets)
            && (logits.len() != 3 || targets.len() != 3 || logits[2] != targets[2])
        {
            let k = logits.last().copied().unwrap_or(0);
            return Err(given.mismatch("targets", &format!("(2, B, {k}) as the logits' {logits:?} ask")));
        }
        if logits.is_some_and(|l| l.first().is_some_and(|&views| views < 2)) {
            return Err(
                given.mismatch("logits", "at least two views, since a view is never held against itself")
            );
        }
        Ok(vec![EdgeType::Tensor { dims: vec![], batch: None }])
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let numbers = given.get("logits").map_or(0.0, EdgeType::numbers);
        // the gradient, as large as the logits
        Cost { parameters: 0, flops: 12.0 * numbers * scope.micros(), bytes: 4.0 * numbers }
    }
}

/// The running loss. Its forward firing computes the gradient in the same pass over the logits; the backward firing gives it.
pub struct Running<D: Device> {
    temperature: f64,
    global_batch: usize,
    gradient: Option<Batched<D>>,
    device: D,
}

/// Positions of the inputs.
const LOGITS: usize = 0;
const TARGETS: usize = 1;

impl<D: Device> Running<D> {
    /// A loss over batches of `global_batch` pictures.
    pub fn new(stage: &CrossEntropy, global_batch: usize, device: &D) -> Self {
        Running { temperature: stage.temperature, global_batch, gradient: None, device: device.clone() }
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn fire(
        &mut self,
        _: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let (logits, targets) = (inputs.tensor(LOGITS)?, inputs.tensor(TARGETS)?);
        let [views, batch, k] = logits.dims[..] else {
            return Err(StageError::Bug(format!("logits are (views, batch, K), not {:?}", logits.dims)));
        };
        // every global view against every view but itself
        let pairs = targets.dims[0] * views - targets.dims[0].min(views);
        let weight = 1.0 / (pairs * self.global_batch) as f32;
        let mut gradient = Batched::empty(&self.device, logits.dims.clone(), logits.batch).map_err(failed)?;
        let (student, temperature) = (logits.view(), self.temperature as f32);
        let loss = self.device.cross_entropy(
            views,
            batch,
            k,
            student,
            targets.view(),
            temperature,
            weight,
            gradient.view_mut(),
        );
        let loss = loss.map_err(failed)?;
        if !loss.is_finite() {
            return Err(StageError::NonFinite { what: "the loss".into() });
        }
        self.gradient = Some(gradient);
        outputs.metrics.push(("loss", loss));
        let scalar = Batched::from_host(&self.device, vec![loss as f32], vec![], None);
        outputs.values[0] = Some(Value::Tensor(scalar.map_err(failed)?));
        Ok(())
    }

    fn backward(
        &mut self,
        _: &Moment,
        _: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        outputs.values[LOGITS] = self.gradient.take().map(Value::Tensor);
        Ok(())
    }
}
