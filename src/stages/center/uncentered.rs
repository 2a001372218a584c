//! `center`: sharpening alone, which lets one prototype take everything (section 5.3).
use crate::optim::schedule::Schedule;
use serde::{Deserialize, Serialize};

use super::{Recipe, Rule};
use crate::stages::declare::*;
use crate::stages::range::Ranges;

/// Targets softmax(t / temperature). A centre is watched, of momentum 0.9, and not used.
/// Input `logits`; outputs `targets`, `centered?` (G, B, K): the logits as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Uncentered {
    /// The teacher's temperature.
    pub temperature: Schedule,
}

impl Default for Uncentered {
    fn default() -> Self {
        Uncentered { temperature: super::warm_up() }
    }
}

impl Uncentered {
    /// What runs.
    pub fn recipe(&self) -> Recipe {
        Recipe { rule: Rule::Plain, momentum: 0.9, temperature: self.temperature }
    }
}

impl Declare for Uncentered {
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
