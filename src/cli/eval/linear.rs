//! `dinoflow eval linear`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::outcome::OutcomeArgs;
use super::rows::{BothRows, RowsArgs, Sources};
use crate::error::Error;
use crate::eval::classifier::Rows;
use crate::eval::features::{Wanted, labelled};
use crate::eval::left_out::LeftOut;
use crate::eval::linear::augmented::batch;
use crate::eval::linear::{Line, Protocol, Training};
use crate::graph::spec::Backbone;
use crate::report::count::Count;

/// The arguments of `dinoflow eval linear`.
#[derive(Clone, Debug, Args)]
pub struct LinearArgs {
    #[command(flatten)]
    rows: RowsArgs,
    /// Passes over the training pictures
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: u64,
    /// Learning rates for a batch of 256, each a classifier of its own on the same batches
    #[arg(long, value_name = "LR,LR…", value_delimiter = ',', default_values_t = [0.001])]
    lr: Vec<f64>,
    /// Pictures of one update; the learning rate grows with it
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    global_batch: u32,
    /// Decides first weights, order and crops
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Computes each training picture's features once, without random crops: quicker by as much as there are epochs
    #[arg(long)]
    cached: bool,
    /// Keeps where it stands in this folder after each epoch, and the best classifier
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Goes on where the folder's training stands
    #[arg(long, requires = "out", conflicts_with = "overwrite")]
    resume: bool,
    /// Starts anew in a folder that holds a training
    #[arg(long, requires = "out")]
    overwrite: bool,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// The published features: CLS of the last four blocks, or of the last one with the patches' mean where the network is as wide as ViT-B.
fn published(backbone: &Backbone) -> Wanted {
    match backbone.vit() {
        Some(_) if backbone.width() >= 768 => Wanted { last_blocks: 1, average_patches: true },
        Some((_, shape)) => Wanted { last_blocks: shape.depth.min(4), average_patches: false },
        None => Wanted::CLS,
    }
}

/// What a training's folder keeps.
const FILE: &str = "linear.safetensors";

impl LinearArgs {
    /// Trains, and says after each epoch how often it is right.
    pub fn run(&self) -> Result<(), Error> {
        self.check()?;
        let (training, val, record) = match self.cached || self.rows.features.is_some() {
            true => self.on_cached()?,
            false => self.on_augmented()?,
        };
        let last = training.history.iter().rev().take(training.heads.len()).rev();
        let mut lines: Vec<String> = last.map(|line| accuracy(line, val, training.heads.len())).collect();
        if let Some((best, _)) = &training.best {
            lines.push(format!("Max accuracy so far: {:.2}%", best.top1));
            lines.push("Training of the supervised linear classifier on frozen features completed.".into());
            lines.push(format!("Top-1 test accuracy: {:.1}", best.top1));
        }
        let best = training.best.as_ref().map(|(line, _)| line);
        let record = json!({
            "subject": record, "training": training.protocol, "cached": self.cached, "val": val,
            "best": best, "history": training.history,
        });
        self.outcome.give("linear", &lines, record)
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(lr) = self.lr.iter().find(|lr| !(**lr > 0.0 && lr.is_finite())) {
            return Err(Error::Request(format!("--lr {lr}: expected a number above 0")));
        }
        if let Some(out) = &self.out {
            std::fs::create_dir_all(out).map_err(|cause| Error::File {
                doing: "write",
                path: out.clone(),
                cause,
            })?;
            if out.join(FILE).exists() && !(self.resume || self.overwrite) {
                let text = format!("{} holds a training already", out.display());
                return Err(Error::Request(format!("{text}; go on with --resume, or --overwrite it")));
            }
        }
        self.outcome.check()
    }

    /// A training at its beginning, or where the folder's stands.
    fn begin(&self, dim: usize, classes: usize, subject: &str) -> Result<Training, Error> {
        let protocol = Protocol {
            lrs: self.lr.clone(),
            batch: self.global_batch as usize,
            epochs: self.epochs,
            seed: self.seed,
        };
        let mut training = Training::new(protocol, dim, classes);
        match self.out.as_ref().map(|out| out.join(FILE)).filter(|path| path.exists()) {
            Some(path) if self.resume => training.resume(&path, subject)?,
            // gone before the new one begins, so that a resume of what is interrupted does not find the old one
            Some(path) => remove(&path)?,
            None => {}
        }
        Ok(training)
    }

    fn on_cached(&self) -> Result<(Training, usize, serde_json::Value), Error> {
        let BothRows { train, val, classes, record } = self.rows.both(published)?;
        let subject = identity(&record, true, &val);
        let mut training = self.begin(train.dim, classes, &subject)?;
        let batch = |_, places: &[usize], _: &mut LeftOut| Ok(train.gather(places));
        self.train(&mut training, train.len(), &val, &subject, batch)?;
        Ok((training, val.len(), record))
    }

    fn on_augmented(&self) -> Result<(Training, usize, serde_json::Value), Error> {
        let sources = self.rows.sources(published)?;
        let val = sources.rows(sources.val.as_ref(), self.rows.view.batch(), "val")?;
        let which = labelled(sources.train.as_ref());
        if val.is_empty() || which.is_empty() {
            return Err(Error::Request("there is no labelled picture that can be read".into()));
        }
        let (record, classes) = (sources.record(), sources.train.classes().len());
        let identity = identity(&record, false, &val);
        let mut training = self.begin(val.dim, classes, &identity)?;
        let Sources { subject, wanted, train, .. } = &sources;
        let at_once = self.rows.view.batch();
        let augmented = |epoch, places: &[usize], left_out: &mut LeftOut| {
            let chosen: Vec<usize> = places.iter().map(|&place| which[place]).collect();
            batch(subject, train.as_ref(), (*wanted, at_once), (self.seed, epoch), &chosen, left_out)
        };
        self.train(&mut training, which.len(), &val, &identity, augmented)?;
        Ok((training, val.len(), record))
    }

    /// Trains the epochs that are left, each told and kept.
    fn train(
        &self,
        training: &mut Training,
        rows: usize,
        val: &Rows,
        subject: &str,
        mut batch_of: impl FnMut(u64, &[usize], &mut LeftOut) -> Result<Rows, Error>,
    ) -> Result<(), Error> {
        let (heads, mut left_out) = (training.heads.len(), LeftOut::default());
        while training.epoch < self.epochs {
            let mut count = Count::new(format!("epoch {} of {}", training.epoch + 1, self.epochs), rows);
            let batch = |epoch, places: &[usize]| batch_of(epoch, places, &mut left_out);
            let done = training.epoch(rows, val, batch, |n| count.add(n));
            left_out.tell(|line| count.say(&line));
            done?;
            let latest = &training.history[training.history.len() - heads..];
            latest.iter().for_each(|line| count.say(&at_epoch(line, val.len(), heads)));
            if let Some((best, _)) = &training.best {
                count.say(&format!("Max accuracy so far: {:.2}%", best.top1));
            }
            self.keep(training, subject)?;
        }
        Ok(())
    }

    fn keep(&self, training: &Training, subject: &str) -> Result<(), Error> {
        let path = |out: &PathBuf| Path::new(out).join(FILE);
        self.out.as_ref().map_or(Ok(()), |out| training.save(&path(out), subject))
    }
}

/// What a training goes on with alone: the network, the pictures, how they are shown, and how many of those that judge could be read.
fn identity(record: &serde_json::Value, cached: bool, val: &Rows) -> String {
    json!({"features": record, "cached": cached, "judged": val.len()}).to_string()
}

fn remove(path: &Path) -> Result<(), Error> {
    std::fs::remove_file(path).map_err(|cause| Error::File { doing: "remove", path: path.to_owned(), cause })
}

/// Which head a line is of, where there are several.
fn head(line: &Line, heads: usize) -> String {
    if heads > 1 { format!(" (lr {})", line.lr) } else { String::new() }
}

/// In the published scripts' words.
fn accuracy(line: &Line, val: usize, heads: usize) -> String {
    format!("Accuracy of the network on the {val} test images{}: {:.1}%", head(line, heads), line.top1)
}

fn at_epoch(line: &Line, val: usize, heads: usize) -> String {
    let (epoch, of) = (line.epoch, head(line, heads));
    format!(
        "Accuracy at epoch {epoch} of the network on the {val} test images{of}: {:.1}% (top-5 {:.1}%, loss {:.4})",
        line.top1, line.top5, line.loss
    )
}
