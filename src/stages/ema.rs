//! `ema`: the teacher's rule: an exponential moving average of the student (section 3.1).
use crate::optim::schedule::Schedule;
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
