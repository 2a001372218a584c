//! `center`: centring and sharpening of the teacher's logits (section 3.1, equation 4).
use crate::optim::schedule::{Every, Schedule, Span};
use serde::{Deserialize, Serialize};

/// Targets softmax((t - c) / temperature) with c, the running mean of the teacher's logits from before this step.
/// Input `logits`; output `targets` (2, B, K).
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
        let temperature =
            Schedule::Linear { from: 0.04, to: 0.07, over: Span::Epochs(30.0), every: Every::Epoch };
        Centering { momentum: 0.9, temperature }
    }
}
