//! Why a command could not do what was asked, and the exit status that says so.

use std::path::PathBuf;

use crate::doctor::Diagnosis;
use crate::graph::origin::Origins;
use crate::graph::problem::Diagnostic;
use crate::runtime::RunError;

/// Everything that ends a command before its work is done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The graph is wrong: every reason, with the texts that they point into.
    #[error("the graph has {}", count(.problems))]
    Graph {
        /// Errors, and the notes beside them.
        problems: Vec<Diagnostic>,
        /// The texts that they point into.
        origins: Box<Origins>,
    },
    /// Arguments, a used run folder, data that isn't there.
    #[error("{0}")]
    Request(String),
    /// A file that could not be read or written.
    #[error("cannot {doing} {}: {cause}", .path.display())]
    File {
        /// What was tried: `read`, `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system answered.
        cause: std::io::Error,
    },
    /// A run that did not come to its end.
    #[error("{0}")]
    Run(#[from] RunError),
    /// Stopped by a signal, with a checkpoint written.
    #[error("stopped by {} after {step} steps; continue with --resume --out {folder}", signal_name(*.status))]
    Stopped {
        /// The exit status that names the signal: 130 or 143.
        status: u8,
        /// Updates of the weights in the checkpoint.
        step: u64,
        /// The run folder.
        folder: String,
    },
    /// An ablation stopped by a signal, its run with a checkpoint written.
    #[error("stopped by {}; continue with --resume --out {folder}", signal_name(*.status))]
    AblationStopped {
        /// The exit status that names the signal: 130 or 143.
        status: u8,
        /// The ablation's folder.
        folder: String,
    },
    /// Stopped because training has collapsed, with a checkpoint written.
    #[error("{diagnosis}\nstopped; to go on all the same: --resume --out {folder} --set on_collapse=Warn")]
    Collapsed {
        /// What the doctor says.
        diagnosis: Box<Diagnosis>,
        /// The run folder.
        folder: String,
    },
    /// Stopped by a signal, with nothing to go on with.
    #[error("stopped by {}", signal_name(*.status))]
    Interrupted {
        /// The exit status that names the signal: 130 or 143.
        status: u8,
    },
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// 1 failed, 2 the request was wrong, 3 training collapsed or went non-finite, 130 and 143 stopped by SIGINT and SIGTERM.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Graph { .. } | Error::Request(_) => 2,
            Error::File { doing: "read", .. } => 2,
            Error::Run(error) => error.status(),
            Error::Stopped { status, .. }
            | Error::AblationStopped { status, .. }
            | Error::Interrupted { status } => *status,
            Error::Collapsed { .. } => 3,
            Error::File { .. } | Error::Failed(_) => 1,
        }
    }
}

fn count(problems: &[Diagnostic]) -> String {
    match problems.len() {
        1 => "1 error".into(),
        n => format!("{n} errors"),
    }
}

fn signal_name(status: u8) -> &'static str {
    match status {
        130 => "SIGINT",
        143 => "SIGTERM",
        _ => "a signal",
    }
}
