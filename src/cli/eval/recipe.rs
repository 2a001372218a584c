//! The numbers of fine-tuning's recipe as arguments.

use clap::Args;

use crate::error::Error;
use crate::eval::finetune::Recipe;

/// DeiT's recipe, as far as it goes.
#[derive(Clone, Debug, Args)]
pub struct RecipeArgs {
    /// Passes over the training pictures
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: u64,
    /// Pictures of one update; the learning rate grows with it
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    global_batch: u32,
    /// The peak learning rate for a batch of 512
    #[arg(long, default_value_t = 5e-4)]
    lr: f64,
    /// What the learning rate falls to
    #[arg(long, default_value_t = 1e-5)]
    end_lr: f64,
    /// Epochs in which the learning rate rises from 1e-6, fewer than all [default: 5, at most a tenth of all]
    #[arg(long, value_name = "N")]
    warmup: Option<f64>,
    /// Of AdamW
    #[arg(long, default_value_t = 0.05)]
    weight_decay: f64,
    /// The factor of the learning rate from one layer to the one before it; 1 is plain DeiT
    #[arg(long, default_value_t = 0.75)]
    layer_decay: f64,
    /// The share of a label that is spread over all classes
    #[arg(long, default_value_t = 0.1)]
    smoothing: f64,
    /// Of the beta distribution of mixup, at most 1000; 0 is none
    #[arg(long, default_value_t = 0.8)]
    mixup: f64,
    /// Of the beta distribution of cutmix, at most 1000; 0 is none
    #[arg(long, default_value_t = 1.0)]
    cutmix: f64,
    /// The probability with which the last block is left out
    #[arg(long, default_value_t = 0.1)]
    drop_path: f64,
    /// How far brightness, contrast and saturation may go
    #[arg(long, default_value_t = 0.3)]
    jitter: f64,
    /// Decides order, crops, mixing and the linear layer's first weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl RecipeArgs {
    /// The recipe.
    ///
    /// # Errors
    /// [`Error::Request`] for a number that makes no sense.
    pub fn recipe(&self) -> Result<Recipe, Error> {
        self.check()?;
        Ok(Recipe {
            epochs: self.epochs,
            batch: self.global_batch as usize,
            lr: self.lr,
            end_lr: self.end_lr,
            warmup_epochs: self.warmup(),
            weight_decay: self.weight_decay,
            layer_decay: self.layer_decay,
            smoothing: self.smoothing,
            mixup: self.mixup,
            cutmix: self.cutmix,
            drop_path: self.drop_path,
            jitter: self.jitter,
            seed: self.seed,
        })
    }

    /// DeiT's 5 epochs of 300 would be most of a short fine-tuning.
    fn warmup(&self) -> f64 {
        self.warmup.unwrap_or((self.epochs as f64 / 10.0).min(5.0))
    }

    fn check(&self) -> Result<(), Error> {
        let need = |name: &str, value: f64, ok: bool, expected: &str| match ok && value.is_finite() {
            true => Ok(()),
            false => Err(Error::Request(format!("--{name} {value}: expected {expected}"))),
        };
        let (decay, warmup) = (self.layer_decay, self.warmup());
        let shorter = warmup >= 0.0 && warmup < self.epochs as f64;
        need("warmup", warmup, shorter, &format!("fewer than all {} epochs, from 0 on", self.epochs))?;
        need("lr", self.lr, self.lr > 0.0, "a number above 0")?;
        need("layer-decay", decay, decay > 0.0 && decay <= 1.0, "a number above 0, at most 1")?;
        for (name, value) in
            [("end-lr", self.end_lr), ("weight-decay", self.weight_decay), ("jitter", self.jitter)]
        {
            need(name, value, value >= 0.0, "a number from 0 on")?;
        }
        for (name, value) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            need(name, value, (0.0..=1000.0).contains(&value), "a number from 0 to 1000")?;
        }
        for (name, value) in [("smoothing", self.smoothing), ("drop-path", self.drop_path)] {
            need(name, value, (0.0..1.0).contains(&value), "a share from 0 to below 1")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        recipe: RecipeArgs,
    }

    /// Epochs of warm-up under some arguments, or what is said.
    fn check(arguments: &[&str], expected: Result<f64, &str>) {
        let command = Command::parse_from([&["finetune"], arguments].concat());
        match (command.recipe.recipe(), expected) {
            (Ok(found), Ok(warmup)) => assert_eq!(found.warmup_epochs, warmup, "{arguments:?}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?}; expected {expected:?}"),
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        check(&[], Ok(5.0));
        check(&["--epochs", "20"], Ok(2.0));
        check(&["--epochs", "20", "--warmup", "19"], Ok(19.0));
        check(&["--epochs", "20", "--warmup", "20"], Err("--warmup 20: expected fewer than all 20 epochs"));
        check(&["--warmup", "nan"], Err("--warmup NaN"));
        check(&["--mixup", "1001"], Err("--mixup 1001: expected a number from 0 to 1000"));
        check(&["--cutmix", "inf"], Err("--cutmix inf"));
        check(&["--smoothing", "1"], Err("--smoothing 1"));
    }
}
