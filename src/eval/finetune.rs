//! Fine-tuning on labels, as DeiT does (Touvron et al. 2021, table 9; section 4.3 of the paper): the whole network and a linear layer on CLS by AdamW,
//! with mixed pictures and smoothed labels. Learning rates may fall from layer to layer towards the picture (Bao et al. 2022, BEiT).
//!
//! Of DeiT's augmentations RandAugment, random erasing and repeated pictures are left out.

pub mod layers;
pub mod mix;
mod saved;
pub mod trainer;

use serde::{Deserialize, Serialize};

use crate::optim::schedule::{Horizon, LrCourse, Span};

/// What decides a fine-tuning's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub epochs: u64,
    /// Pictures of one update.
    pub batch: usize,
    /// The peak learning rate for a batch of 512.
    pub lr: f64,
    /// What it falls to.
    pub end_lr: f64,
    pub warmup_epochs: f64,
    /// None for biases, one-axis tensors, CLS and position embeddings.
    pub weight_decay: f64,
    /// The factor of the learning rate from one layer to the one before it; 1 is DeiT's.
    pub layer_decay: f64,
    /// The share of a label that is spread over all classes.
    pub smoothing: f64,
    /// Of mixup's beta distribution; 0 is none.
    pub mixup: f64,
    /// Of cutmix's; 0 is none. Where both are on, each has every other batch by chance.
    pub cutmix: f64,
    /// Drop probability of the last block.
    pub drop_path: f64,
    /// How far brightness, contrast and saturation may go.
    pub jitter: f64,
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            epochs: 100,
            batch: 512,
            lr: 5e-4,
            end_lr: 1e-6,
            warmup_epochs: 5.0,
            weight_decay: 0.05,
            layer_decay: 0.75,
            smoothing: 0.1,
            mixup: 0.8,
            cutmix: 1.0,
            drop_path: 0.1,
            jitter: 0.3,
            seed: 0,
        }
    }
}

impl Recipe {
    /// The learning rate of the last layer at a step.
    pub fn lr(&self, step: u64, steps_per_epoch: u64) -> f64 {
        let horizon = Horizon { steps_per_epoch, total_steps: self.epochs * steps_per_epoch };
        let course = LrCourse::Cosine { warmup: Span::Epochs(self.warmup_epochs), end: self.end_lr };
        course.at(self.lr * self.batch as f64 / 512.0, step, horizon)
    }
}

/// What an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// From 0.
    pub epoch: u64,
    /// Mean over the epoch's updates, in nats, of mixed and smoothed labels.
    pub loss: f64,
    /// On the validation pictures, in percent.
    pub top1: f64,
    pub top5: f64,
}
