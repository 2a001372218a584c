//! `teacher`: the averaged network on the global crops, never traced.
use serde::{Deserialize, Serialize};

/// Sends the global crops through the teacher network. Inputs `global`, `weights*`; outputs `logits` (2, B, K), `cls` (2, B, D).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Teacher {}
