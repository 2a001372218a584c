//! Fine-tuning on labels, as DeiT does (Touvron et al. 2021, table 9; section 4.3 of the paper): the whole network and a linear layer on CLS by AdamW,
//! with mixed pictures and smoothed labels. Learning rates may fall from layer to layer towards the picture (Bao et al. 2022, BEiT).
//!
//! Of DeiT's augmentations RandAugment, random erasing and repeated pictures are left out. The learning rate changes with every update and its
//! cosine begins where the warm-up ends; DeiT's changes with every epoch, and its cosine counts the warm-up too.

pub mod layers;
pub mod mix;
mod saved;
pub mod trainer;

use serde::{Deserialize, Serialize};

use crate::optim::schedule::{Horizon, Schedule, Span};

/// What the learning rate rises from (DeiT's `--warmup-lr`).
pub const WARMUP_LR: f64 = 1e-6;

/// What decides a fine-tuning's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub epochs: u64,
    /// Pictures of one update.
    pub batch: usize,
    /// The peak learning rate for a batch of 512.
    pub lr: f64,
    /// What it falls to (DeiT's `--min-lr`).
    pub end_lr: f64,
    /// Epochs in which it rises from [`WARMUP_LR`]; fewer than all.
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
            end_lr: 1e-5,
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
        let (peak, warmup) =
            (self.lr * self.batch as f64 / 512.0, Span::Epochs(self.warmup_epochs).steps(horizon));
        if step < warmup {
            let from = WARMUP_LR.min(peak);
            return from + (peak - from) * step as f64 / warmup as f64;
        }
        let total_steps = horizon.total_steps.saturating_sub(warmup);
        let fall = Schedule::Cosine { from: peak, to: self.end_lr };
        fall.at(step - warmup, Horizon { total_steps, ..horizon })
    }
}

/// What an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// From 0.
    pub epoch: u64,
    /// Mean over the epoch's updates, in nats, of mixed and smoothed labels.
    pub loss: f64,
    /// Pictures that it was trained on: those that could be read and filled a batch.
    pub pictures: usize,
    /// Validation pictures that could be read.
    pub judged: usize,
    /// On these, in percent.
    pub top1: f64,
    pub top5: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rates_rise_from_deits_first_and_fall_to_its_last() {
        let recipe = Recipe { epochs: 10, batch: 1024, warmup_epochs: 2.0, ..Recipe::default() };
        let check = |step: u64, expected: f64| {
            let found = recipe.lr(step, 100);
            assert!((found / expected - 1.0).abs() < 1e-9, "{step}: {found}; expected {expected}");
        };
        check(0, 1e-6);
        check(100, (1e-6 + 1e-3) / 2.0);
        check(200, 1e-3);
        check(600, (1e-3 + 1e-5) / 2.0);
        let last = recipe.lr(999, 100);
        assert!((1e-5..1.1e-5).contains(&last), "{last}");
        // half the pictures, half the rate
        assert_eq!(Recipe { batch: 512, ..recipe.clone() }.lr(200, 100), 0.5 * recipe.lr(200, 100));
        // a rate below the first one's never rises above its own peak
        assert_eq!(Recipe { lr: 1e-8, ..recipe }.lr(0, 100), 2e-8);
    }
}
