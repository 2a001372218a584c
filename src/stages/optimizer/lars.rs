//! LARS (You, Gitman and Ginsburg 2017): SGD whose step in each tensor is as long as a share of the tensor, for large batches.

use serde::{Deserialize, Serialize};

use super::recipe::{Clip, LrScaling, Optimizer, Recipe};
use super::rule::{Rule, Update, misfit};
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::optim::schedule::{LrCourse, Schedule, Span};
use crate::runtime::stage::StageError;
use crate::stages::range::Ranges;

/// Tensors of two or more axes: g = g + decay · w, scaled to the length trust · |w|; the others: g as it is. Then b = momentum · b + g
/// and w -= lr · b. Clips before. Output `weights`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lars {
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
    /// How much of its velocity a weight keeps.
    pub momentum: f64,
    /// A tensor's step before the learning rate, as a share of the tensor.
    pub trust: f64,
    /// Gradient clipping.
    pub clip: Clip,
    /// How long the head's last layer stays as it is.
    pub freeze_last_layer: Span,
}

impl Default for Lars {
    fn default() -> Self {
        Lars {
            trains: vec!["student".into()],
            lr: 0.3,
            lr_scaling: LrScaling::Linear { per: 256 },
            lr_course: LrCourse::Cosine { warmup: Span::Epochs(10.0), end: 1e-6 },
            weight_decay: Schedule::Constant(1e-6),
            momentum: 0.9,
            trust: 0.001,
            clip: Clip::PerParameter(3.0),
            freeze_last_layer: Span::Epochs(1.0),
        }
    }
}

impl Optimizer for Lars {
    fn trained(&self) -> &[String] {
        &self.trains
    }

    fn recipe(&self) -> Recipe {
        let Lars { lr, lr_scaling, lr_course, weight_decay, clip, freeze_last_layer, .. } = *self;
        Recipe { lr, lr_scaling, lr_course, weight_decay, clip, freeze_last_layer }
    }

    fn judge(&self, ranges: &mut Ranges) {
        ranges.number("momentum", self.momentum, |m| (0.0..1.0).contains(&m), "0 to below 1");
        ranges.number("trust", self.trust, |t| t > 0.0 && t <= 1.0, "above 0, 1 at most");
    }

    fn kept(&self) -> f64 {
        1.0
    }

    fn flops(&self) -> f64 {
        13.0
    }
}

impl<D: Kernels> Rule<D> for Lars {
    fn keeps(&self) -> &'static [&'static str] {
        &["velocity"]
    }

    fn update(&self, device: &D, update: Update<'_, D>) -> Result<(), StageError> {
        let Update { weights, axes, gradient, scale, lr, decay, kept, average, momentum, .. } = update;
        let [velocity] = kept else { return Err(misfit()) };
        let (to, b) = (weights.view_mut(), D::buffer_mut(velocity));
        let own = self.momentum;
        let updated = match axes {
            0 | 1 => device.sgd(to, gradient, b, lr, decay, own, scale, average, momentum),
            _ => device.lars(to, gradient, b, lr, decay, own, self.trust, scale, average, momentum),
        };
        updated.map_err(failed)
    }
}
