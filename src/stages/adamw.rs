//! `optimizer`: AdamW (Loshchilov and Hutter 2019) over the student's parameters, which it owns.
use crate::optim::schedule::{LrCourse, Schedule, Span};
use serde::{Deserialize, Serialize};

/// Clips, then updates the weights of the networks it trains. Output `weights`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// The nodes whose networks are trained.
    pub trains: Vec<String>,
    /// The learning rate before scaling.
    pub lr: f64,
    /// How the learning rate follows the batch.
    pub lr_scaling: LrScaling,
    /// Its course over training.
    pub lr_course: LrCourse,
    /// Weight decay; none for biases and one-axis tensors.
    pub weight_decay: Schedule,
    /// Decay rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Gradient clipping.
    pub clip: Clip,
    /// How long the head's last layer stays as it is.
    pub freeze_last_layer: Span,
}

/// The rule that ties the learning rate to the batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum LrScaling {
    /// lr as it stands.
    None,
    /// lr × global_batch / `per` (Goyal et al. 2017; the paper's is per 256).
    Linear { per: usize },
}

/// What bounds a gradient before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Clip {
    /// Nothing.
    None,
    /// Each parameter by its own norm: factor max / (norm + 1e-6) when below 1.
    PerParameter(f64),
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW {
            trains: vec!["student".into()],
            lr: 0.0005,
            lr_scaling: LrScaling::Linear { per: 256 },
            lr_course: LrCourse::Cosine { warmup: Span::Epochs(10.0), end: 1e-6 },
            weight_decay: Schedule::Cosine { from: 0.04, to: 0.4 },
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            clip: Clip::PerParameter(3.0),
            freeze_last_layer: Span::Epochs(1.0),
        }
    }
}
