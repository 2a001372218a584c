//! `ema`: the teacher's rule: an exponential moving average of the student (section 3.1).
use super::declare::{Cost, Declare, EdgeType, Given, Port, Ports, Problem, Rate, Role, Scope};
use super::range::Ranges;
use super::types::Types;
use crate::optim::schedule::Schedule;
use crate::plan::cost;
use serde::{Deserialize, Serialize};

/// teacher = m · teacher + (1 - m) · student over all parameters, after the student's update.
/// Inputs: the student's `student` weights; output `weights`, which it owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Momentum {
    pub momentum: Schedule,
}

impl Default for Momentum {
    fn default() -> Self {
        Momentum { momentum: Schedule::Cosine { from: 0.996, to: 1.0 } }
    }
}

impl Declare for Momentum {
    fn role(&self) -> Role {
        Role::Ema
    }

    fn rate(&self) -> Rate {
        Rate::Step
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("student", "the student's weights after the update")],
            outputs: vec![Port::new("weights", "the teacher's weights")],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.schedule("momentum", &self.momentum, |m| (0.0..=1.0).contains(&m), "0 to 1");
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("student", &EdgeType::Weights);
        types.finish(vec![EdgeType::Weights])
    }

    fn cost(&self, scope: &Scope, _given: &Given) -> Cost {
        let parameters = cost::parameters(&scope.graph.network);
        let resident = cost::FLOAT * parameters as f64;
        Cost { parameters, flops: 3.0 * parameters as f64, bytes: resident, resident }
    }
}
