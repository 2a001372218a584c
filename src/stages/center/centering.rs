//! `center`: centring and sharpening of the teacher's logits (section 3.1, equation 4).
use crate::optim::schedule::Schedule;
use serde::{Deserialize, Serialize};

use super::{Recipe, Rule};
use crate::stages::declare::*;
use crate::stages::range::Ranges;

/// Targets softmax((t - c) / temperature) with c, the running mean of the teacher's logits from before this step.
/// Input `logits`; outputs `targets`, `centered?` (G, B, K).
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
        Centering { momentum: 0.9, temperature: super::warm_up() }
    }
}

impl Centering {
    /// What runs.
    pub fn recipe(&self) -> Recipe {
        Recipe { rule: Rule::Centered, momentum: self.momentum, temperature: self.temperature }
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
        super::cost(5.0, given)
    }
}
