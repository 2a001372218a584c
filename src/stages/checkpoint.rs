//! `checkpoint`: when the run's whole state is written.
use super::declare::*;
use super::range::Ranges;
use crate::optim::schedule::Span;
use serde::{Deserialize, Serialize};

/// Writes every stage's state and every feedback value at the barrier. Signals and the end of a run write one as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// How often.
    pub every: Span,
    /// How many of the newest stay; 0 keeps all.
    pub keep: usize,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { every: Span::Epochs(1.0), keep: 3 }
    }
}

impl Declare for Checkpoint {
    fn role(&self) -> Role {
        Role::Checkpoint
    }

    fn rate(&self) -> Rate {
        Rate::Barrier
    }

    fn every(&self) -> Option<Span> {
        Some(self.every)
    }

    fn ports(&self) -> Ports {
        Ports::default()
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.every("every", self.every);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, _given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        Ok(Vec::new())
    }

    fn cost(&self, _scope: &Scope, _given: &Given) -> Cost {
        Cost::default()
    }
}
