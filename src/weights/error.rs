//! Why a file of weights can't be used.

use std::path::{Path, PathBuf};

use super::pickle::PickleError;
use super::words::{message, shown};
use crate::error::Error;

/// What is wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", .path.display())]
pub struct WeightsError {
    pub path: PathBuf,
    pub cause: Cause,
}

/// What is wrong with a file of weights.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// The content is none that holds weights.
    #[error(
        "{}; expected safetensors, a file of torch.save, a Hugging Face or timm folder, or a checkpoint or run of dinoflow",
        message(.found)
    )]
    NotWeights { found: String },
    #[error("{0}")]
    Pickle(#[from] PickleError),
    /// A zip archive that is none of `torch.save`'s, or damaged.
    #[error("{}", message(.0))]
    Archive(String),
    /// A safetensors header that doesn't fit its file.
    #[error("{}", message(.0))]
    Safetensors(String),
    /// A file beside the weights, such as `config.json`.
    #[error("{file}: {}", message(.what))]
    Beside { file: String, what: String },
    /// One tensor that can't be read.
    #[error("{}: {}", shown(.key), message(.what))]
    Tensor { key: String, what: String },
    /// A number that is none.
    #[error(
        "{} holds {found} at position {at} (of {len}): weights are finite numbers; the training that made them went wrong, so take an earlier checkpoint",
        shown(.key)
    )]
    NotFinite { key: String, found: f32, at: usize, len: usize },
    /// A network that is none of ours.
    #[error("{}; dinoflow has {there_is}", message(.found))]
    Architecture { found: String, there_is: String },
    /// Keys that the network needs.
    #[error("{} missing for {network}: {}; the file is not whole, or not of this network", count(.keys.len(), "key is", "keys are"), listed(.keys))]
    Missing { network: String, keys: Vec<String> },
    /// A weight of another shape.
    #[error("{} is {found:?}, {network} has {expected:?} there", shown(.key))]
    Shape { key: String, found: Vec<usize>, network: String, expected: Vec<usize> },
    /// A weight inside the network that the network doesn't have.
    #[error("{}: {network} has no such weight ({reason}), so its features would not be the file's", shown(.key))]
    Foreign { key: String, network: String, reason: String },
    /// A file that could not be written.
    #[error("{0}")]
    Unwritten(std::io::Error),
    /// What a format can't hold, or what was asked of a file that can't give it.
    #[error("{}", message(.0))]
    Request(String),
}

impl Cause {
    /// With the file that it is about.
    pub fn of(self, path: &Path) -> WeightsError {
        WeightsError { path: path.to_owned(), cause: self }
    }

    pub fn tensor(key: &str, what: impl Into<String>) -> Cause {
        Cause::Tensor { key: key.to_owned(), what: what.into() }
    }
}

impl From<WeightsError> for Error {
    fn from(error: WeightsError) -> Error {
        match error.cause {
            Cause::System(cause) => Error::File { doing: "read", path: error.path, cause },
            Cause::Unwritten(cause) => Error::File { doing: "write", path: error.path, cause },
            _ => Error::Request(error.to_string()),
        }
    }
}

fn count(count: usize, one: &str, more: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {more}") }
}

/// The first few of many.
fn listed(keys: &[String]) -> String {
    let first = keys.iter().take(4).map(|key| shown(key)).collect::<Vec<_>>().join(", ");
    if keys.len() > 4 { format!("{first}, …") } else { first }
}
