//! `loss`: cross-entropy between the teacher's targets and the student's logits (equations 2 and 3).
use serde::{Deserialize, Serialize};

/// Mean over pairs (teacher view i, student view v, v ≠ i) of the batch-mean cross-entropy. Inputs `logits`, `targets`; output `loss`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CrossEntropy {
    /// The student's temperature.
    pub temperature: f64,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        CrossEntropy { temperature: 0.1 }
    }
}
