//! Where the numbers of a file of `torch.save` lie.

use super::archive::Archive;
use super::legacy::Legacy;
use super::tensor::{Described, gather};
use crate::weights::error::Cause;
use crate::weights::words::shown;

/// The storages of a file.
#[derive(Debug)]
pub enum Storages {
    Archive(Archive),
    Legacy(Legacy),
}

impl Storages {
    /// A tensor's bytes, row-major. Of its storage, what the tensor spans is read and nothing else.
    pub fn read(&mut self, key: &str, tensor: &Described) -> Result<Vec<u8>, Cause> {
        let storage = &*tensor.storage;
        let found = match self {
            Storages::Archive(archive) => archive.size(storage),
            Storages::Legacy(legacy) => legacy.size(storage),
        };
        let found = found.ok_or_else(|| {
            let storage = shown(storage);
            Cause::tensor(
                key,
                format!("its numbers are to be in storage {storage}, and the file has no such storage"),
            )
        })?;
        let width = tensor.element.width();
        let expected = tensor.numbers.checked_mul(width);
        if expected.is_none_or(|expected| expected as u64 > found) {
            let what = format!(
                "its storage is said to have {} numbers and has {found} bytes: the file is damaged",
                tensor.numbers
            );
            return Err(Cause::tensor(key, what));
        }
        // the description's reach was held against `numbers`, and `numbers` against the file
        let (from, bytes) = ((tensor.offset * width) as u64, tensor.span() * width);
        let spanned = match self {
            Storages::Archive(archive) => archive.storage(storage, from, bytes)?,
            Storages::Legacy(legacy) => legacy.storage(storage, from, bytes)?,
        };
        Ok(gather(tensor, spanned))
    }

    /// The file's length.
    pub fn length(&self) -> u64 {
        match self {
            Storages::Archive(archive) => archive.length,
            Storages::Legacy(legacy) => legacy.length,
        }
    }
}
