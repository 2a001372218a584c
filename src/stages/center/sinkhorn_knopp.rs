//! `center`: Sinkhorn-Knopp in the place of centring (Caron et al. 2020; appendix B of DINO's paper).
use crate::optim::schedule::Schedule;
use serde::{Deserialize, Serialize};

use super::{Recipe, Rule};
use crate::stages::declare::*;
use crate::stages::range::Ranges;

/// Targets that use every prototype alike within the batch: exp(t / temperature), alternately normalised over the batch and over the
/// prototypes. Input `logits`; outputs `targets`, `centered?` (G, B, K): the logits as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkhornKnopp {
    /// Rounds of normalisation.
    pub iterations: usize,
    /// The teacher's temperature.
    pub temperature: Schedule,
    /// How much of the old centre a step keeps; the targets do not see it.
    pub momentum: f64,
}

impl Default for SinkhornKnopp {
    fn default() -> Self {
        SinkhornKnopp { iterations: 3, temperature: super::warm_up(), momentum: 0.9 }
    }
}

impl SinkhornKnopp {
    /// What runs.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            rule: Rule::Balanced { iterations: self.iterations },
            momentum: self.momentum,
            temperature: self.temperature,
        }
    }
}

impl Declare for SinkhornKnopp {
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
        ranges.count("iterations", self.iterations, 1, 1000);
        super::judge(&self.recipe(), &mut ranges);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        super::infer(given)
    }

    fn cost(&self, _scope: &Scope, given: &Given) -> Cost {
        super::cost(5.0 + 4.0 * self.iterations as f64, given)
    }
}
