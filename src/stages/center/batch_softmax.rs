//! `center`: a softmax over the batch in the place of centring (appendix B).
use crate::optim::schedule::Schedule;
use serde::{Deserialize, Serialize};

use super::{Recipe, Rule};
use crate::stages::declare::*;
use crate::stages::range::Ranges;

/// Targets softmax(t / temperature) over the batch for each prototype, then normalised for each picture: one round of Sinkhorn-Knopp.
/// Input `logits`; outputs `targets`, `centered?` (G, B, K): the logits as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSoftmax {
    /// The teacher's temperature.
    pub temperature: Schedule,
    /// How much of the old centre a step keeps; the targets do not see it.
    pub momentum: f64,
}

impl Default for BatchSoftmax {
    fn default() -> Self {
        BatchSoftmax { temperature: super::warm_up(), momentum: 0.9 }
    }
}

impl BatchSoftmax {
    /// What runs.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            rule: Rule::Balanced { iterations: 1 },
            momentum: self.momentum,
            temperature: self.temperature,
        }
    }
}

impl Declare for BatchSoftmax {
    fn role(&self) -> Role {
        Role::Center
    }

    fn rate(&self) -> Rate {
        Rate::Step
    }

    fn ports(&self) -> Ports {
        super::ports()
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        super::judge(&self.recipe(), &mut ranges);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        super::infer(given)
    }

    fn cost(&self, _scope: &Scope, given: &Given) -> Cost {
        super::cost(9.0, given)
    }
}
