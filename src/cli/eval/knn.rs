//! `dinoflow eval knn`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::outcome::OutcomeArgs;
use super::subject::ViewArgs;
use crate::cli::device::Work;
use crate::data::source::Images;
use crate::error::Error;
use crate::eval::feature_file::{Pair, pair};
use crate::eval::features::Wanted;
use crate::eval::knn::{Accuracy, Bank, Labelled, classify_on};
use crate::eval::subject::Subject;
use crate::eval::{dataset, low_shot};
use crate::report::count::Count;
use crate::stages::registry::Registered;
use crate::weights::Which;

/// The arguments of `dinoflow eval knn`.
#[derive(Clone, Debug, Args)]
pub struct KnnArgs {
    /// A run's folder, a checkpoint's, or a file of weights; none where features are given
    #[arg(value_name = "RUN|WEIGHTS", required_unless_present = "features")]
    weights: Option<PathBuf>,
    /// The labelled pictures that vote: a folder, a list, a .tar file, or a source as RON
    #[arg(long, value_name = "DATA", required_unless_present = "features")]
    train: Option<String>,
    /// The labelled pictures that are classified
    #[arg(long, value_name = "DATA", required_unless_present = "features")]
    val: Option<String>,
    /// Features that vote, as `dinoflow features` writes them (safetensors)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["weights", "train", "val", "low_shot"], requires = "val_features")]
    features: Option<PathBuf>,
    /// Features that are classified
    #[arg(long, value_name = "FILE", requires = "features")]
    val_features: Option<PathBuf>,
    /// Which networks of a run or a full checkpoint
    #[arg(long, value_enum, default_value_t = Networks::Both)]
    which: Networks,
    /// Numbers of neighbours
    #[arg(long, value_name = "K,K…", value_delimiter = ',', default_values_t = [10, 20, 100, 200])]
    k: Vec<usize>,
    /// Votes weigh exp(similarity / temperature)
    #[arg(long, default_value_t = 0.07)]
    temperature: f64,
    /// The share of each class's training pictures whose labels are known: 1%, 10%
    #[arg(long, value_name = "SHARE", value_parser = low_shot::parse)]
    low_shot: Option<f64>,
    /// Which pictures a low share takes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// Networks of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Networks {
    Both,
    Teacher,
    Student,
}

/// What one network came to.
struct Judgement {
    lines: Vec<String>,
    record: Value,
}

/// A classification on whatever device.
struct Classifying<'a> {
    rows: [Labelled; 2],
    ks: &'a [usize],
    temperature: f64,
}

impl Work for Classifying<'_> {
    type Done = Result<Vec<Accuracy>, Error>;

    fn on<D: Registered>(self, device: &D) -> Self::Done {
        let failed = |e: D::Err| Error::Failed(e.to_string());
        let [train, val] = self.rows;
        let (train, val) =
            (Bank::new(device, train).map_err(failed)?, Bank::new(device, val).map_err(failed)?);
        classify_on(device, [&train, &val], self.ks, self.temperature).map_err(failed)
    }
}

impl KnnArgs {
    /// Classifies, and says how many rightly.
    pub fn run(&self) -> Result<(), Error> {
        self.check()?;
        let judgements = match (&self.features, &self.val_features) {
            (Some(train), Some(val)) => vec![self.judge_features(train, val)?],
            _ => self.judge_networks()?,
        };
        let lines: Vec<String> = judgements.iter().flat_map(|judgement| judgement.lines.clone()).collect();
        let results: Vec<Value> = judgements.into_iter().map(|judgement| judgement.record).collect();
        // pictures, or the files of their features
        let path = |file: &PathBuf| file.display().to_string();
        let train = self.train.clone().or(self.features.as_ref().map(path));
        let val = self.val.clone().or(self.val_features.as_ref().map(path));
        let record = json!({
            "train": train, "val": val,
            "temperature": self.temperature, "low_shot": self.low_shot, "seed": self.seed, "results": results,
        });
        self.outcome.give("knn", &lines, record)
    }

    fn check(&self) -> Result<(), Error> {
        if self.k.contains(&0) {
            return Err(Error::Request("--k 0: expected at least one neighbour".into()));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(Error::Request(format!(
                "--temperature {}: expected a number above 0",
                self.temperature
            )));
        }
        self.outcome.check()
    }

    /// The accuracies in the form that the published scripts print.
    fn judgement(
        &self,
        name: Option<&str>,
        rows: [Labelled; 2],
        mut record: Value,
    ) -> Result<Judgement, Error> {
        let [train, val] = [rows[0].len(), rows[1].len()];
        if train == 0 || val == 0 {
            return Err(Error::Request("there is no labelled picture that can be read".into()));
        }
        let classifying = Classifying { rows, ks: &self.k, temperature: self.temperature };
        let accuracies = self.view.device()?.work(classifying)?;
        let mut lines: Vec<String> = name.iter().map(|name| format!("{name}:")).collect();
        lines.extend(accuracies.iter().map(|Accuracy { k, top1, top5 }| {
            format!("{k}-NN classifier result: Top1: {top1:.2}, Top5: {top5:.2}")
        }));
        let accuracy = |a: &Accuracy| json!({"k": a.k, "top1": a.top1, "top5": a.top5});
        record["train"] = json!(train);
        record["val"] = json!(val);
        record["accuracy"] = accuracies.iter().map(accuracy).collect();
        Ok(Judgement { lines, record })
    }

    fn judge_features(&self, train: &Path, val: &Path) -> Result<Judgement, Error> {
        let Pair { first, second, .. } = pair(train, val)?;
        self.judgement(None, [first.into(), second.into()], json!({}))
    }

    fn judge_networks(&self) -> Result<Vec<Judgement>, Error> {
        // clap has seen that these are there where features are not
        let given = |argument: &Option<String>| argument.clone().unwrap_or_default();
        let (train, val) = (dataset::open(&given(&self.train))?, dataset::open(&given(&self.val))?);
        dataset::same_classes(train.as_ref(), val.as_ref())?;
        let chosen = low_shot::choose(train.as_ref(), self.low_shot.unwrap_or(1.0), self.seed);
        let all = low_shot::choose(val.as_ref(), 1.0, self.seed);
        let which = match self.which {
            Networks::Both => vec![Which::Student, Which::Teacher],
            Networks::Teacher => vec![Which::Teacher],
            Networks::Student => vec![Which::Student],
        };
        let path = self.weights.clone().unwrap_or_default();
        let mut judgements = Vec::new();
        for which in which {
            let subject = self.view.open(&path, which)?;
            let name = subject.which.map(Which::key);
            let what = name.unwrap_or("weights");
            let train = self.features(&subject, &train, &chosen, &format!("{what}, train"))?;
            let val = self.features(&subject, &val, &all, &format!("{what}, val"))?;
            judgements.push(self.judgement(name, [train, val], subject.to_json())?);
            if name.is_none() {
                // a file of one network has no other
                break;
            }
        }
        Ok(judgements)
    }

    /// Features of some of a source's pictures; those that can't be read are named.
    fn features(
        &self,
        subject: &Subject,
        images: &Arc<dyn Images>,
        which: &[usize],
        what: &str,
    ) -> Result<Labelled, Error> {
        let mut count = Count::new(format!("features ({what})"), which.len());
        let wanted = (Wanted::CLS, self.view.batch());
        let (rows, unreadable) = subject.rows(images.as_ref(), which, wanted, |n| count.add(n))?;
        for one in unreadable {
            count.say(&format!("left out {}: {}", images.name(one.index), one.reason));
        }
        Ok(rows.into())
    }
}
