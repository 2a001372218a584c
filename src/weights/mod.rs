//! Weights of a network from a file: which tensors, of which architecture.

use std::path::{Path, PathBuf};

use crate::checkpoint;
use crate::graph::load::{Request, load};
use crate::graph::spec::NetworkSpec;
use crate::runtime::stage::State;

/// What a file of weights holds.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Tensors under the published keys.
    pub state: State,
    pub network: NetworkSpec,
    /// How the network is shown pictures, where the file says so.
    pub shown: Option<Preprocessing>,
}

/// How a network is shown pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    pub resize: Option<usize>,
    pub crop: Option<usize>,
    pub mean: [f32; 3],
    pub deviation: [f32; 3],
}

/// Which of the two networks of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    Student,
    Teacher,
}

impl Which {
    /// `student`, `teacher`.
    pub fn word(self) -> &'static str {
        match self {
            Which::Student => "student",
            Which::Teacher => "teacher",
        }
    }
}

/// A file of weights that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct WeightsError {
    path: PathBuf,
    reason: String,
}

/// Opens the newest checkpoint of a run's folder.
///
/// # Errors
/// When there is none, or it is damaged.
pub fn open(path: &Path, which: Which) -> Result<Opened, WeightsError> {
    let wrong = |reason: String| WeightsError { path: path.to_owned(), reason };
    let latest = path.join("checkpoints/latest");
    let step = std::fs::read_to_string(latest).map_err(|e| wrong(format!("no checkpoint: {e}")))?;
    let file = path.join("checkpoints").join(step.trim()).join(format!("{}.safetensors", which.word()));
    let state = checkpoint::read(&file).map_err(|e| wrong(e.to_string()))?;
    let graph = load(&Request { graph: path.join("graph.ron"), ..Request::default() });
    let network = graph.ok().and_then(|loaded| loaded.spec).map(|spec| spec.network);
    Ok(Opened { state, network: network.ok_or_else(|| wrong("no graph.ron".into()))?, shown: None })
}
