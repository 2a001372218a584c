//! `loss`: cross-entropy between the teacher's targets and the student's logits (equations 2 and 3).
use serde::{Deserialize, Serialize};

use super::declare::*;
use super::range::Ranges;
use super::types::Types;
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::plan::cost::{FLOAT, kept};
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
                Port::new("logits", "the student's logits (V, B, K)").differentiable(),
                Port::new("targets", "the teacher's targets (2, B, K)"),
            ],
            outputs: vec![Port::new("loss", "the loss in nats").optional()],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.number("temperature", self.temperature, |t| t > 0.0 && t < 1e6, "a number above 0");
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        let logits = types.tensor("logits", "(views, batch, K)");
        let targets = types.tensor("targets", "(views, batch, K)");
        if let (Some(logits), Some(targets)) = (logits, targets) {
            let fits = logits.dims[1..] == targets.dims[1..] && logits.dims[0] >= targets.dims[0];
            if !fits {
                let expected = format!("the batch and prototypes of `logits`, {}", shape(&logits.dims));
                types.refuse("targets", expected, shape(&targets.dims));
            } else if logits.dims[0] < 2 {
                types.refuse(
                    "logits",
                    "two views or more: a view is not compared with itself",
                    shape(&logits.dims),
                );
            }
        }
        types.finish(vec![EdgeType::Tensor { dims: Vec::new(), batch: None }])
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let Some(logits) = Types::new(given).tensor("logits", "(views, batch, K)") else {
            return Cost::default();
        };
        let micro = logits.dims.iter().product::<usize>() as f64;
        let micros = (scope.global_batch / scope.micro_batch.max(1)) as f64;
        Cost { parameters: 0, flops: 8.0 * micro * micros, bytes: kept::LOSS * FLOAT * micro, resident: 0.0 }
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
