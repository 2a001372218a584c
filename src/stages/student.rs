//! `student`: the trained network on every crop.
use serde::{Deserialize, Serialize};

/// Sends every crop through the student network (backbone and head of the graph's `network`).
/// Inputs `global`, `local?`, `weights*`; outputs `logits` (2+L, B, K), `cls` (2+L, B, D).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Student {}
