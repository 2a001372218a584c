//! `dinoflow eval finetune`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::outcome::OutcomeArgs;
use super::recipe::RecipeArgs;
use super::subject::SubjectArgs;
use crate::data::source::Images;
use crate::error::Error;
use crate::eval::augmented::{shown, spec};
use crate::eval::dataset;
use crate::eval::features::labelled;
use crate::eval::finetune::Line;
use crate::eval::finetune::mix::mixed;
use crate::eval::finetune::trainer::Trainer;
use crate::keyed::Key;
use crate::report::count::Count;

/// The arguments of `dinoflow eval finetune`.
#[derive(Clone, Debug, Args)]
pub struct FinetuneArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// The labelled pictures that it is trained on: a folder, a list, a .tar file, or a source as RON
    #[arg(long, value_name = "DATA")]
    train: String,
    /// The labelled pictures that it is judged on
    #[arg(long, value_name = "DATA")]
    val: String,
    /// Where it stands after each epoch, and the best weights
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Goes on where the folder's fine-tuning stands
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Starts anew in a folder that holds a fine-tuning
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// What a fine-tuning's folder keeps: all that a resume needs, and the weights that were best.
const STATE: &str = "finetune.safetensors";
const BEST: &str = "best.safetensors";

/// Pictures with labels, and which of them have one.
struct Labelled {
    images: Arc<dyn Images>,
    which: Vec<usize>,
}

impl FinetuneArgs {
    /// Trains, and says after each epoch how often it is right.
    pub fn run(&self) -> Result<(), Error> {
        let recipe = self.recipe.recipe()?;
        self.begin()?;
        let (train, val) = (dataset::open(&self.train)?, dataset::open(&self.val)?);
        dataset::same_classes(train.as_ref(), val.as_ref())?;
        let [train, val] = [train, val].map(|images| Labelled { which: labelled(images.as_ref()), images });
        if train.which.is_empty() || val.which.is_empty() {
            return Err(Error::Request("there is no labelled picture".into()));
        }
        let subject = self.subject.open()?;
        let mut record = subject.to_json();
        record["train"] = json!({"data": self.train, "pictures": train.which.len()});
        record["val"] = json!({"data": self.val, "pictures": val.which.len()});
        let mut trainer = Trainer::new(recipe, subject, train.images.classes().len())?;
        let state = self.out.join(STATE);
        if self.resume && state.exists() {
            trainer.resume(&state, &record.to_string())?;
        }
        while (trainer.history.len() as u64) < trainer.recipe.epochs {
            self.epoch(&mut trainer, &train, &val)?;
            trainer.save(&state, &record.to_string())?;
        }
        self.tell(&trainer, record, val.which.len())
    }

    fn begin(&self) -> Result<(), Error> {
        let wrong = |cause| Error::File { doing: "write", path: self.out.clone(), cause };
        std::fs::create_dir_all(&self.out).map_err(wrong)?;
        if self.out.join(STATE).exists() && !(self.resume || self.overwrite) {
            let text = format!("{} holds a fine-tuning already", self.out.display());
            return Err(Error::Request(format!("{text}; go on with --resume, or --overwrite it")));
        }
        self.outcome.check()
    }

    /// One pass over the training pictures, and how often it is right afterwards.
    fn epoch(&self, trainer: &mut Trainer, train: &Labelled, val: &Labelled) -> Result<(), Error> {
        let (epoch, at_once) = (trainer.history.len() as u64, self.subject.view.batch());
        let key = Key::new(trainer.recipe.seed).named("finetune epoch").with(epoch);
        let mut order = train.which.clone();
        key.named("order").draws().shuffle(&mut order);
        let (side, view) = (trainer.subject.view.crop, trainer.subject.view);
        let (spec, classes) = (spec(side, trainer.recipe.jitter), trainer.classifier.classes);
        let batch = trainer.recipe.batch.min(order.len());
        let steps = (order.len() / batch) as u64;
        let mut count = Count::new(format!("epoch {} of {}", epoch + 1, trainer.recipe.epochs), order.len());
        let mut losses = Vec::with_capacity(steps as usize);
        // the last pictures of an order that fill no batch are left out, as in DeiT
        for (at, chosen) in order.chunks_exact(batch).enumerate() {
            let (mut pixels, labels) = shown(train.images.as_ref(), view, &spec, key.named("crop"), chosen);
            let mixing = key.with(at as u64);
            let targets = mixed(&trainer.recipe, classes, side, mixing, &mut pixels, &labels);
            let lr = trainer.recipe.lr(epoch * steps + at as u64, steps);
            if !targets.is_empty() {
                losses.push(trainer.update(&pixels, &targets, lr, at_once)?);
            }
            count.add(chosen.len());
        }
        let accuracy = trainer.judge(val.images.as_ref(), &val.which, at_once)?;
        let loss = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        let line = Line { epoch, loss, top1: accuracy.top1, top5: accuracy.top5 };
        if trainer.history.iter().all(|before| line.top1 > before.top1) {
            trainer.save_weights(&self.out.join(BEST))?;
        }
        trainer.history.push(line);
        count.say(&told(&line, val.which.len()));
        count.say(&format!("Max accuracy: {:.2}%", best(&trainer.history).top1));
        Ok(())
    }

    fn tell(&self, trainer: &Trainer, record: serde_json::Value, val: usize) -> Result<(), Error> {
        let best = best(&trainer.history);
        let last = trainer.history.last().copied().unwrap_or(best);
        let accuracy = format!("Accuracy of the network on the {val} test images: {:.1}%", last.top1);
        let lines = [accuracy, format!("Max accuracy: {:.2}%", best.top1)];
        let (recipe, history, weights) = (&trainer.recipe, &trainer.history, self.out.join(BEST));
        let record = json!({
            "subject": record, "recipe": recipe, "best": best, "history": history,
            "best_weights": Path::new(&weights).display().to_string(),
        });
        self.outcome.give("finetune", &lines, record)
    }
}

/// The epoch that was right most often; of equals the first.
fn best(history: &[Line]) -> Line {
    let better = |best: Option<Line>, line: &Line| match best {
        Some(best) if best.top1 >= line.top1 => Some(best),
        _ => Some(*line),
    };
    let none = Line { epoch: 0, loss: f64::NAN, top1: 0.0, top5: 0.0 };
    history.iter().fold(None, better).unwrap_or(none)
}

fn told(line: &Line, val: usize) -> String {
    format!(
        "Accuracy at epoch {} of the network on the {val} test images: {:.1}% (top-5 {:.1}%, loss {:.4})",
        line.epoch, line.top1, line.top5, line.loss
    )
}
