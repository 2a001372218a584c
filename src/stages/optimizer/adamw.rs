//! AdamW (Loshchilov and Hutter 2019): what ViTs are trained by.

use serde::{Deserialize, Serialize};

use super::recipe::{Clip, LrScaling, Optimizer, Recipe};
use super::rule::{Rule, Update, misfit};
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::optim::schedule::{LrCourse, Schedule, Span};
use crate::runtime::stage::StageError;
use crate::stages::range::Ranges;

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

impl Optimizer for AdamW {
    fn trained(&self) -> &[String] {
        &self.trains
    }

    fn recipe(&self) -> Recipe {
        let AdamW { lr, lr_scaling, lr_course, weight_decay, clip, freeze_last_layer, .. } = *self;
        Recipe { lr, lr_scaling, lr_course, weight_decay, clip, freeze_last_layer }
    }

    fn judge(&self, ranges: &mut Ranges) {
        for (name, beta) in [("betas.0", self.betas.0), ("betas.1", self.betas.1)] {
            ranges.number(name, beta, |beta| (0.0..1.0).contains(&beta), "0 to below 1");
        }
        ranges.number("epsilon", self.epsilon, |e| e > 0.0 && e < 1.0, "above 0 and below 1");
    }

    fn kept(&self) -> f64 {
        2.0
    }

    fn flops(&self) -> f64 {
        14.0
    }
}

impl<D: Kernels> Rule<D> for AdamW {
    fn keeps(&self) -> &'static [&'static str] {
        &["first_moment", "second_moment"]
    }

    fn update(&self, device: &D, update: Update<'_, D>) -> Result<(), StageError> {
        let Update { weights, gradient, scale, lr, decay, kept, updates, average, momentum, .. } = update;
        let [first, second] = kept else { return Err(misfit()) };
        let (first, second) = (D::buffer_mut(first), D::buffer_mut(second));
        let (to, (beta1, beta2)) = (weights.view_mut(), self.betas);
        let updated = device.adamw(
            to,
            gradient,
            first,
            second,
            lr,
            decay,
            beta1,
            beta2,
            self.epsilon,
            updates,
            scale,
            average,
            momentum,
        );
        updated.map_err(failed)
    }
}
