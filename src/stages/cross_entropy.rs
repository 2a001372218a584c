//! `loss`: cross-entropy between the teacher's targets and the student's logits (equations 2 and 3).
use super::declare::{Cost, Declare, EdgeType, Given, Port, Ports, Problem, Rate, Role, Scope, shape};
use super::range::Ranges;
use super::types::Types;
use crate::plan::cost::{FLOAT, kept};
use serde::{Deserialize, Serialize};

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
            outputs: vec![Port::new("loss", "the loss in nats")],
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
