//! Features in files: written for other programs, and read back for protocols that need no network.
//!
//! ```text
//! collect      rows as they come, kept on the disk until all are known
//! safetensors, npy, parquet   the files
//! read         features of a safetensors file
//! pair         two of them that are compared
//! ```

mod collect;
mod npy;
mod pair;
mod parquet;
mod read;
mod safetensors;

use std::io::{Error, Result};
use std::path::{Path, PathBuf};

pub use collect::{Collected, Row};
pub use pair::{Pair, pair};
pub use read::{labelled, rows, unlabelled};

/// The kinds of file, by the ends of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cls` (pictures, dim), and beside it `labels` (pictures), `patches` (pictures, patches, dim) and `names`, a line for each, in UTF-8.
    /// The header's metadata holds `classes`, a JSON list of what labels number.
    Safetensors,
    /// `cls` as (pictures, dim), and beside it files of the same name that end in `.labels.npy`, `.patches.npy` and `.names.txt`.
    Npy,
    /// A row for each picture: `name`, `label`, `class`, `cls`, `patches`.
    Parquet,
}

impl Kind {
    /// The kind that a path's end asks for.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "safetensors" => Some(Kind::Safetensors),
            "npy" => Some(Kind::Npy),
            "parquet" => Some(Kind::Parquet),
            _ => None,
        }
    }

    /// Writes what was collected, each file whole or not at all; says which files.
    ///
    /// # Errors
    /// When one can't be written.
    pub fn write(self, path: &Path, collected: &mut Collected) -> Result<Vec<PathBuf>> {
        match self {
            Kind::Safetensors => safetensors::write(path, collected).map(|()| vec![path.to_owned()]),
            Kind::Npy => npy::write(path, collected),
            Kind::Parquet => parquet::write(path, collected).map(|()| vec![path.to_owned()]),
        }
    }
}

/// A failure of a library as one of a file.
fn other(error: impl std::fmt::Display) -> Error {
    Error::other(error.to_string())
}

#[cfg(test)]
mod tests;
