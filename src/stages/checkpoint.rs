//! `checkpoint`: when the run's whole state is written.
use super::declare::*;
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

    fn ports(&self) -> Ports {
        Ports::default()
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        Problem::of_span("every", self.every, scope)
    }

    fn infer(&self, _: &Scope, _: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        Ok(vec![])
    }
}
