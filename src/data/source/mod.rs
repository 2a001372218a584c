//! Where images come from: a folder, a list, tar shards, or drawn ones.

mod classes;
mod folder;
mod list;
mod pattern;
mod shards;
mod synthetic;

use std::path::{Path, PathBuf};

pub use folder::{Folder, FolderParams};
pub use list::{List, ListParams};
pub use pattern::FAMILIES;
pub use shards::{Shards, ShardsParams};
pub use synthetic::{Split, Synthetic, SyntheticParams};

use super::rgb::Rgb8;

/// A numbered set of images. Reading is by index, from any thread, in any order.
pub trait Images: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// True when there is no image; a source that opens has at least one.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What to call image `index` in a message: a path, `shard/key`, a number.
    fn name(&self, index: usize) -> String;

    /// Class of image `index`, an index into [`classes`](Images::classes); none where it has none.
    fn label(&self, index: usize) -> Option<u32>;

    /// Names of the classes. Two sources number their classes apart: compare names.
    fn classes(&self) -> &[String];

    /// Image `index`, encoded or drawn.
    ///
    /// # Errors
    /// When it cannot be read, or `index` is not below [`len`](Images::len).
    fn read(&self, index: usize) -> Result<Raw, SourceError>;
}

/// An image as its source has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// The bytes of an image file.
    Encoded(Vec<u8>),
    /// A picture that needs no decoding.
    Drawn(Rgb8),
}

/// A source that does not open, or an image that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("no path is given: set {0}")]
    Unset(&'static str),
    #[error("no image in {place}: looked for {looked_for}")]
    Empty { place: String, looked_for: &'static str },
    #[error("{}: {cause}", .path.display())]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{}:{line}: {reason}", .file.display())]
    Line { file: PathBuf, line: usize, reason: String },
    #[error("{}: entry {entry}: {reason}", .file.display())]
    Entry { file: PathBuf, entry: String, reason: String },
    #[error("{field} must be {expected}, not {found}")]
    Parameter { field: &'static str, expected: String, found: String },
    #[error("there is no image {index}: the source has {len}")]
    Index { index: usize, len: usize },
}

impl SourceError {
    fn io(path: &Path, cause: std::io::Error) -> Self {
        SourceError::Io { path: path.to_owned(), cause }
    }
}

/// What file names are searched for, in words.
const LOOKED_FOR: &str = "files ending in .jpg, .jpeg, .png or .webp, in any case and at any depth";

/// Whether a file is an image by its name. Hidden files are not: archives from Macs hold `._name.jpg` that are none.
fn is_image(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = |e: &std::ffi::OsStr| {
        ["jpg", "jpeg", "png", "webp"].iter().any(|known| e.eq_ignore_ascii_case(known))
    };
    !hidden && path.extension().is_some_and(known)
}
