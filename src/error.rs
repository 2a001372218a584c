//! Why a command could not do what was asked, and the exit status that says so.

use std::path::PathBuf;

use crate::graph::origin::Origins;
use crate::graph::problem::Diagnostic;
use crate::runtime::stage::StageError;

/// Everything that ends a command before its work is done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The graph is wrong: every reason, with the texts that they point into.
    #[error("the graph has {}", count(.problems))]
    Graph { problems: Vec<Diagnostic>, origins: Box<Origins> },
    /// Arguments, a used run folder, data that isn't there.
    #[error("{0}")]
    Request(String),
    /// A file that could not be read or written.
    #[error("cannot {doing} {}: {cause}", .path.display())]
    File { doing: &'static str, path: PathBuf, cause: std::io::Error },
    /// A stage failed: the first cause, with its node and step.
    #[error("{node}, step {step}: {cause}")]
    Stage { node: String, step: u64, cause: StageError },
    /// A stage panicked.
    #[error("{node}, step {step}: panicked: {message}")]
    Panic { node: String, step: u64, message: String },
    /// Stopped by a signal, with a checkpoint written.
    #[error("stopped by {} after step {step}; a checkpoint is written: continue with --resume", signal_name(*.signal))]
    Stopped { signal: i32, step: u64 },
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// 1 failed, 2 the request was wrong, 3 training went non-finite, 130 and 143 stopped by SIGINT and SIGTERM.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Graph { .. } | Error::Request(_) => 2,
            Error::File { doing: "read", .. } => 2,
            Error::Stage { cause: StageError::Data(_), .. } => 2,
            Error::Stage { cause: StageError::NonFinite { .. }, .. } => 3,
            Error::Stopped { signal, .. } => u8::try_from(128 + signal).unwrap_or(1),
            Error::File { .. } | Error::Stage { .. } | Error::Panic { .. } | Error::Failed(_) => 1,
        }
    }
}

fn count(problems: &[Diagnostic]) -> String {
    match problems.len() {
        1 => "1 error".into(),
        n => format!("{n} errors"),
    }
}

fn signal_name(number: i32) -> &'static str {
    match number {
        2 => "SIGINT",
        15 => "SIGTERM",
        _ => "a signal",
    }
}
