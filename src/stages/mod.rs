//! The stages: one file each, with its parameters, its ports, what runs, and its tests; a role of several variants is a folder.
//!
//! A stage's parameters are a plain value that the graph file holds ([`StageSpec`]). From it follow, before any data
//! is read, what it declares ([`Declare`]) and later, on the thread that will run it, the running stage.

pub mod attention;
pub mod center;
pub mod checkpoint;
pub mod collate;
pub mod declare;
pub mod decode;
pub mod ema;
pub mod knn;
pub mod loss;
pub mod multi_crop;
mod onlooker;
pub mod optimizer;
pub mod predictor;
pub mod range;
pub mod registry;
pub mod source;
pub mod student;
pub mod teacher;
pub mod types;

use ron::value::RawValue;
use serde::{Deserialize, Serialize};

pub use declare::{
    Batch, Cost, Declare, EdgeType, Fault, Given, Port, Ports, Problem, Rate, Role, Scope, Use,
};
pub use registry::Registry;

/// Every stage a graph file can name: the variant, the preset's file name in snake case and the word on the command
/// line are the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StageSpec {
    // source
    Folder(source::Folder),
    List(source::List),
    Shards(source::Shards),
    Synthetic(source::Synthetic),
    // host stages
    Decode(decode::Decode),
    MultiCrop(multi_crop::MultiCrop),
    Collate(collate::Collate),
    // networks
    Student(student::Student),
    Teacher(teacher::Teacher),
    Predictor(predictor::Predictor),
    // targets and loss
    Centering(center::Centering),
    SinkhornKnopp(center::SinkhornKnopp),
    BatchSoftmax(center::BatchSoftmax),
    Uncentered(center::Uncentered),
    CrossEntropy(loss::CrossEntropy),
    MeanSquaredError(loss::MeanSquaredError),
    InfoNce(loss::InfoNce),
    SwappedPrediction(loss::SwappedPrediction),
    // who owns the weights
    AdamW(optimizer::AdamW),
    Sgd(optimizer::Sgd),
    Lars(optimizer::Lars),
    Momentum(ema::Momentum),
    StudentCopy(ema::StudentCopy),
    PreviousIteration(ema::PreviousIteration),
    PreviousEpoch(ema::PreviousEpoch),
    // at the barrier
    Knn(knn::Knn),
    Maps(attention::Maps),
    Checkpoint(checkpoint::Checkpoint),
    /// A stage of a user's crate, registered under `kind`.
    Custom(Custom),
}

/// The open variant: a stage that a user's crate registers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// The name under which the stage is registered.
    pub kind: String,
    /// Its parameters, which its own crate parses.
    pub with: Box<RawValue>,
}

impl StageSpec {
    /// What a stage of dinoflow's own declares; none for a custom one, whose crate does.
    pub fn built_in(&self) -> Option<&dyn Declare> {
        Some(match self {
            StageSpec::Folder(stage) => stage,
            StageSpec::List(stage) => stage,
            StageSpec::Shards(stage) => stage,
            StageSpec::Synthetic(stage) => stage,
            StageSpec::Decode(stage) => stage,
            StageSpec::MultiCrop(stage) => stage,
            StageSpec::Collate(stage) => stage,
            StageSpec::Student(stage) => stage,
            StageSpec::Teacher(stage) => stage,
            StageSpec::Predictor(stage) => stage,
            StageSpec::Centering(stage) => stage,
            StageSpec::SinkhornKnopp(stage) => stage,
            StageSpec::BatchSoftmax(stage) => stage,
            StageSpec::Uncentered(stage) => stage,
            StageSpec::CrossEntropy(stage) => stage,
            StageSpec::MeanSquaredError(stage) => stage,
            StageSpec::InfoNce(stage) => stage,
            StageSpec::SwappedPrediction(stage) => stage,
            StageSpec::AdamW(stage) => stage,
            StageSpec::Sgd(stage) => stage,
            StageSpec::Lars(stage) => stage,
            StageSpec::Momentum(stage) => stage,
            StageSpec::StudentCopy(stage) => stage,
            StageSpec::PreviousIteration(stage) => stage,
            StageSpec::PreviousEpoch(stage) => stage,
            StageSpec::Knn(stage) => stage,
            StageSpec::Maps(stage) => stage,
            StageSpec::Checkpoint(stage) => stage,
            StageSpec::Custom(_) => return None,
        })
    }

    /// The variant's name, or a custom stage's kind.
    pub fn kind(&self) -> &str {
        match self {
            StageSpec::Folder(_) => "Folder",
            StageSpec::List(_) => "List",
            StageSpec::Shards(_) => "Shards",
            StageSpec::Synthetic(_) => "Synthetic",
            StageSpec::Decode(_) => "Decode",
            StageSpec::MultiCrop(_) => "MultiCrop",
            StageSpec::Collate(_) => "Collate",
            StageSpec::Student(_) => "Student",
            StageSpec::Teacher(_) => "Teacher",
            StageSpec::Predictor(_) => "Predictor",
            StageSpec::Centering(_) => "Centering",
            StageSpec::SinkhornKnopp(_) => "SinkhornKnopp",
            StageSpec::BatchSoftmax(_) => "BatchSoftmax",
            StageSpec::Uncentered(_) => "Uncentered",
            StageSpec::CrossEntropy(_) => "CrossEntropy",
            StageSpec::MeanSquaredError(_) => "MeanSquaredError",
            StageSpec::InfoNce(_) => "InfoNce",
            StageSpec::SwappedPrediction(_) => "SwappedPrediction",
            StageSpec::AdamW(_) => "AdamW",
            StageSpec::Sgd(_) => "Sgd",
            StageSpec::Lars(_) => "Lars",
            StageSpec::Momentum(_) => "Momentum",
            StageSpec::StudentCopy(_) => "StudentCopy",
            StageSpec::PreviousIteration(_) => "PreviousIteration",
            StageSpec::PreviousEpoch(_) => "PreviousEpoch",
            StageSpec::Knn(_) => "Knn",
            StageSpec::Maps(_) => "Maps",
            StageSpec::Checkpoint(_) => "Checkpoint",
            StageSpec::Custom(custom) => &custom.kind,
        }
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.with.get_ron() == other.with.get_ron()
    }
}
