//! `dinoflow eval finetune`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::outcome::OutcomeArgs;
use super::recipe::RecipeArgs;
use super::subject::SubjectArgs;
use crate::data::augment::Interpolation;
use crate::data::source::Images;
use crate::error::Error;
use crate::eval::augmented::{Augmented, shown, spec};
use crate::eval::dataset;
use crate::eval::features::labelled;
use crate::eval::finetune::Line;
use crate::eval::finetune::mix::mixed;
use crate::eval::finetune::trainer::{Judged, Trainer};
use crate::eval::left_out::LeftOut;
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

/// Pictures, which of them have a label, and which of these can't be read.
struct Labelled {
    images: Arc<dyn Images>,
    which: Vec<usize>,
    left_out: LeftOut,
}

impl Labelled {
    fn of(images: Arc<dyn Images>) -> Self {
        Labelled { which: labelled(images.as_ref()), images, left_out: LeftOut::default() }
    }
}

impl FinetuneArgs {
    /// Trains, and says after each epoch how often it is right.
    pub fn run(&self) -> Result<(), Error> {
        let (mut recipe, ask) = (self.recipe.recipe()?, self.subject.ask_trained()?);
        self.begin()?;
        let (train, val) = (dataset::open(&self.train)?, dataset::open(&self.val)?);
        dataset::same_classes(train.as_ref(), val.as_ref())?;
        let [mut train, mut val] = [train, val].map(Labelled::of);
        if train.which.is_empty() || val.which.is_empty() {
            return Err(Error::Request("there is no labelled picture".into()));
        }
        // where there are fewer pictures than a batch, they are the batch, which the learning rate grows with
        recipe.batch = recipe.batch.min(train.which.len());
        let subject = self.subject.open_trained(ask)?;
        let mut record = subject.to_json();
        record["train"] = json!({"data": self.train, "pictures": train.which.len()});
        record["val"] = json!({"data": self.val, "pictures": val.which.len()});
        let mut trainer = Trainer::new(recipe, subject, train.images.classes().len())?;
        let state = self.out.join(STATE);
        match self.resume && state.exists() {
            true => trainer.resume(&state, &record.to_string())?,
            // gone before the new one begins, so that a resume of what is interrupted does not find the old one
            false => [&state, &self.out.join(BEST)].into_iter().try_for_each(|path| remove(path))?,
        }
        while (trainer.history.len() as u64) < trainer.recipe.epochs {
            self.epoch(&mut trainer, &mut train, &mut val)?;
            trainer.save(&state, &record.to_string())?;
        }
        self.tell(&trainer, record)
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
    fn epoch(&self, trainer: &mut Trainer, train: &mut Labelled, val: &mut Labelled) -> Result<(), Error> {
        let (epoch, at_once) = (trainer.history.len() as u64, self.subject.view.batch());
        let what = format!("epoch {} of {}", epoch + 1, trainer.recipe.epochs);
        let mut count = Count::new(what, train.which.len());
        let trained = self.train(trainer, train, |n| count.add(n));
        train.left_out.tell(|line| count.say(&line));
        let (loss, pictures) = trained?;
        let Judged { accuracy, pictures: judged, unreadable } =
            trainer.judge(val.images.as_ref(), &val.which, at_once)?;
        val.left_out.met(val.images.as_ref(), unreadable);
        val.left_out.tell(|line| count.say(&line));
        if pictures == 0 || judged == 0 {
            let which = if pictures == 0 { "training" } else { "validation" };
            return Err(Error::Request(format!("none of the {which} pictures can be read")));
        }
        let line = Line { epoch, loss, pictures, judged, top1: accuracy.top1, top5: accuracy.top5 };
        if trainer.history.iter().all(|before| line.top1 > before.top1) {
            trainer.save_weights(&self.out.join(BEST))?;
        }
        trainer.history.push(line);
        count.say(&told(&line));
        count.say(&format!("Max accuracy: {:.2}%", best(&trainer.history).top1));
        Ok(())
    }

    /// An epoch's updates: their mean loss, and how many pictures could be read.
    fn train(
        &self,
        trainer: &mut Trainer,
        train: &mut Labelled,
        mut done: impl FnMut(usize),
    ) -> Result<(f64, usize), Error> {
        let (epoch, images) = (trainer.history.len() as u64, train.images.as_ref());
        let key = Key::new(trainer.recipe.seed).named("finetune epoch").with(epoch);
        let mut order = train.which.clone();
        key.named("order").draws().shuffle(&mut order);
        let (side, view) = (trainer.subject.view.crop, trainer.subject.view);
        // DeiT's crops are bicubic
        let spec = spec(side, Interpolation::Bicubic, trainer.recipe.jitter);
        let classes = trainer.classifier.classes;
        let steps = (order.len() / trainer.recipe.batch) as u64;
        let (mut losses, mut pictures) = (Vec::with_capacity(steps as usize), 0);
        // the last pictures of an order that fill no batch are left out, as in DeiT
        for (at, chosen) in order.chunks_exact(trainer.recipe.batch).enumerate() {
            let Augmented { mut pixels, labels, unreadable } =
                shown(images, view, &spec, key.named("crop"), chosen);
            train.left_out.met(images, unreadable);
            let mixing = key.with(at as u64);
            let targets = mixed(&trainer.recipe, classes, side, mixing, &mut pixels, &labels);
            let lr = trainer.recipe.lr(epoch * steps + at as u64, steps);
            if !targets.is_empty() {
                losses.push(trainer.update(&pixels, &targets, lr, self.subject.view.batch())?);
            }
            pictures += labels.len();
            done(chosen.len());
        }
        Ok((losses.iter().sum::<f64>() / losses.len().max(1) as f64, pictures))
    }

    fn tell(&self, trainer: &Trainer, record: serde_json::Value) -> Result<(), Error> {
        let best = best(&trainer.history);
        let last = trainer.history.last().copied().unwrap_or(best);
        let Line { judged, top1, .. } = last;
        let accuracy = format!("Accuracy of the network on the {judged} test images: {top1:.1}%");
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
    let none = Line { epoch: 0, loss: f64::NAN, pictures: 0, judged: 0, top1: 0.0, top5: 0.0 };
    history.iter().fold(None, better).unwrap_or(none)
}

fn told(line: &Line) -> String {
    format!(
        "Accuracy at epoch {} of the network on the {} test images: {:.1}% (top-5 {:.1}%, loss {:.4})",
        line.epoch, line.judged, line.top1, line.top5, line.loss
    )
}

/// Removes a file that may be there.
fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            Err(Error::File { doing: "remove", path: path.to_owned(), cause })
        }
        _ => Ok(()),
    }
}
