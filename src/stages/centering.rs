//! `center`: centring and sharpening of the teacher's logits (section 3.1, equation 4).
use super::declare::{Batch, Cost, Declare, EdgeType, Given, Port, Ports, Problem, Rate, Role, Scope};
use super::range::Ranges;
use super::types::Types;
use crate::optim::schedule::{Every, Schedule, Span};
use crate::plan::cost::FLOAT;
use serde::{Deserialize, Serialize};

/// Targets softmax((t - c) / temperature) with c, the running mean of the teacher's logits from before this step.
/// Input `logits`; output `targets` (2, B, K).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Centering {
    /// How much of the old centre a step keeps.
    pub momentum: f64,
    /// The teacher's temperature; it steps by epoch.
    pub temperature: Schedule,
}

impl Default for Centering {
    fn default() -> Self {
        let temperature =
            Schedule::Linear { from: 0.04, to: 0.07, over: Span::Epochs(30.0), every: Every::Epoch };
        Centering { momentum: 0.9, temperature }
    }
}

impl Declare for Centering {
    fn role(&self) -> Role {
        Role::Center
    }

    fn rate(&self) -> Rate {
        Rate::Step
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("logits", "the teacher's logits of the whole batch (2, B, K)")],
            outputs: vec![Port::new("targets", "a probability for each prototype (2, B, K)")],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.number("momentum", self.momentum, |m| (0.0..=1.0).contains(&m), "0 to 1");
        ranges.schedule("temperature", &self.temperature, |t| t > 0.0 && t < 1e6, "a number above 0");
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        let logits = types.needed("logits", "(views, batch, K)");
        let dims = logits.map(|logits| logits.dims).unwrap_or_default();
        types.finish(vec![EdgeType::Tensor { dims, batch: Some((1, Batch::Whole)) }])
    }

    fn cost(&self, _scope: &Scope, given: &Given) -> Cost {
        let Some(logits) = Types::new(given).tensor("logits", "(views, batch, K)") else {
            return Cost::default();
        };
        let (all, prototypes) = (logits.dims.iter().product::<usize>() as f64, logits.dims[2] as f64);
        let resident = FLOAT * prototypes;
        Cost { parameters: 0, flops: 5.0 * all, bytes: resident + FLOAT * all, resident }
    }
}
