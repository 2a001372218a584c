//! What a run is asked for, and how it ended.

use std::path::PathBuf;

use super::fault::Failure;
use crate::checkpoint::{FolderError, Reuse};
use crate::doctor::Diagnosis;
use crate::report::logs::{Log, Unwritten};
use crate::report::progress::Show;
use crate::report::tables::Summary;

/// What may vary between two runs of one graph without changing a number.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The run folder.
    pub out: PathBuf,
    /// What to do with it when it was used before.
    pub reuse: Reuse,
    /// Stops after this many updates in total; schedules stay those of the whole duration.
    pub steps: Option<u64>,
    /// Everything on one thread.
    pub sequential: bool,
    /// Each stage in a pass over memory of its own, also where two could share one: the same bits, for comparison.
    pub no_fuse: bool,
    /// Where to write a Chrome trace.
    pub trace: Option<PathBuf>,
    /// Threads of kernels and host stages together; one a core where none is given.
    pub threads: Option<usize>,
    pub show: Show,
    /// Logs beside `metrics.jsonl`.
    pub logs: Vec<Log>,
}

/// A run that ended in order.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// 0, 3 when it was stopped because training has collapsed, or 130 and 143 after a signal.
    pub status: u8,
    /// What the doctor says at the run's end.
    pub diagnosis: Diagnosis,
    /// Updates of the weights in total.
    pub step: u64,
    pub folder: PathBuf,
    pub summary: Summary,
}

/// A run that did not.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A stage failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The run folder can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The graph, or the data it names, is not what a run can be made of.
    #[error("{0}")]
    Request(String),
    /// A file beside the run folder's own.
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    /// The system would not give what the run needs.
    #[error("no threads: {0}")]
    Threads(String),
}

impl From<Unwritten> for RunError {
    fn from(Unwritten { path, source }: Unwritten) -> Self {
        RunError::Folder(FolderError::File { path, source })
    }
}

impl RunError {
    /// The exit status: 1 failed, 2 the request was wrong, 3 training went non-finite.
    pub fn status(&self) -> u8 {
        match self {
            RunError::Failed(failure) => failure.status(),
            RunError::Folder(error) => error.status(),
            RunError::Request(_) => 2,
            RunError::File { .. } | RunError::Threads(_) => 1,
        }
    }
}
