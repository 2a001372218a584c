//! Labelled features, as every protocol takes them that trains on frozen ones: of a network's pictures, or from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::subject::ViewArgs;
use crate::data::source::Images;
use crate::error::Error;
use crate::eval::classifier::Rows;
use crate::eval::dataset;
use crate::eval::feature_file::{Pair, pair};
use crate::eval::features::{Wanted, labelled};
use crate::eval::subject::Subject;
use crate::graph::spec::Backbone;
use crate::report::count::Count;
use crate::weights::Which;

/// Which pictures train and which judge, and what network's features they are.
#[derive(Clone, Debug, Args)]
pub struct RowsArgs {
    /// A run's folder, a checkpoint's, or a file of weights; none where features are given
    #[arg(value_name = "RUN|WEIGHTS", required_unless_present = "features")]
    weights: Option<PathBuf>,
    /// Which network of a run or a full checkpoint
    #[arg(long, value_enum, default_value_t = Which::Teacher)]
    which: Which,
    /// The labelled pictures that it is trained on: a folder, a list, a .tar file, or a source as RON
    #[arg(long, value_name = "DATA", required_unless_present = "features")]
    train: Option<String>,
    /// The labelled pictures that it is judged on
    #[arg(long, value_name = "DATA", required_unless_present = "features")]
    val: Option<String>,
    /// Features that it is trained on, as `dinoflow features` writes them (safetensors)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["weights", "train", "val"], requires = "val_features")]
    pub features: Option<PathBuf>,
    /// Features that it is judged on
    #[arg(long, value_name = "FILE", requires = "features")]
    val_features: Option<PathBuf>,
    /// CLS of so many of the last blocks side by side
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=12))]
    last_blocks: Option<u8>,
    /// The mean of the last block's patches beside them
    #[arg(long, value_name = "BOOL")]
    average_patches: Option<bool>,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// A network with the pictures that are to be seen through it.
pub struct Sources {
    pub subject: Subject,
    pub wanted: Wanted,
    pub train: Arc<dyn Images>,
    pub val: Arc<dyn Images>,
    /// The arguments that mean them.
    data: [String; 2],
}

/// Features that train and features that judge, with what decided them.
pub struct BothRows {
    pub train: Rows,
    pub val: Rows,
    pub classes: usize,
    pub record: Value,
}

impl RowsArgs {
    /// The features of both, `published` deciding what they are where the arguments do not.
    ///
    /// # Errors
    /// When weights, pictures or files can't be used, or there is no row.
    pub fn both(&self, published: fn(&Backbone) -> Wanted) -> Result<BothRows, Error> {
        match (&self.features, &self.val_features) {
            (Some(train), Some(val)) => from_files(train, val),
            _ => {
                let sources = self.sources(published)?;
                let (train, val) = (sources.train.as_ref(), sources.val.as_ref());
                let train = sources.rows(train, self.view.batch(), "train")?;
                let val = sources.rows(val, self.view.batch(), "val")?;
                let (classes, record) = (sources.train.classes().len(), sources.record());
                some(BothRows { train, val, classes, record })
            }
        }
    }

    /// Network and pictures, opened.
    ///
    /// # Errors
    /// When they can't be used, or their classes differ.
    pub fn sources(&self, published: fn(&Backbone) -> Wanted) -> Result<Sources, Error> {
        // clap has seen that these are there where features are not
        let data = [&self.train, &self.val].map(|argument| argument.clone().unwrap_or_default());
        let (train, val) = (dataset::open(&data[0])?, dataset::open(&data[1])?);
        dataset::same_classes(train.as_ref(), val.as_ref())?;
        let subject = self.view.open(&self.weights.clone().unwrap_or_default(), self.which)?;
        let published = published(&subject.spec.backbone);
        let wanted = Wanted {
            last_blocks: self.last_blocks.map_or(published.last_blocks, usize::from),
            average_patches: self.average_patches.unwrap_or(published.average_patches),
        };
        let depth = subject.spec.backbone.vit().map_or(1, |(_, shape)| shape.depth);
        if wanted.last_blocks > depth || (wanted.average_patches && subject.spec.backbone.vit().is_none()) {
            let label = subject.spec.backbone.label();
            let text =
                format!("{label} has {depth} blocks of tokens; expected at most so many --last-blocks");
            return Err(Error::Request(format!("{text}, and --average-patches of a transformer only")));
        }
        Ok(Sources { subject, wanted, train, val, data })
    }
}

impl Sources {
    /// What decided the features: the network, and which pictures, of which some may turn out unreadable.
    pub fn record(&self) -> Value {
        let mut record = self.subject.to_json();
        record["last_blocks"] = json!(self.wanted.last_blocks);
        record["average_patches"] = json!(self.wanted.average_patches);
        for (key, images, data) in [("train", &self.train, &self.data[0]), ("val", &self.val, &self.data[1])]
        {
            record[key] = json!({"data": data, "pictures": labelled(images.as_ref()).len()});
        }
        record
    }

    /// Features of a source's labelled pictures in the evaluation's view; those that can't be read are named.
    ///
    /// # Errors
    /// When the device fails.
    pub fn rows(&self, images: &dyn Images, batch: usize, what: &str) -> Result<Rows, Error> {
        let which = labelled(images);
        let mut count = Count::new(format!("features ({what})"), which.len());
        let (rows, unreadable) = self.subject.rows(images, &which, (self.wanted, batch), |n| count.add(n))?;
        for one in unreadable {
            count.say(&format!("left out {}: {}", images.name(one.index), one.reason));
        }
        Ok(rows)
    }
}

/// Refuses to train on nothing, or to judge by nothing.
fn some(both: BothRows) -> Result<BothRows, Error> {
    match both.train.is_empty() || both.val.is_empty() {
        true => Err(Error::Request("there is no labelled picture that can be read".into())),
        false => Ok(both),
    }
}

fn from_files(train: &Path, val: &Path) -> Result<BothRows, Error> {
    let Pair { first, second, classes } = pair(train, val)?;
    let record = json!({
        "train": {"features": train.display().to_string(), "pictures": first.len()},
        "val": {"features": val.display().to_string(), "pictures": second.len()},
    });
    some(BothRows { train: first, val: second, classes, record })
}
