//! Files of `torch.save`: an archive or, before PyTorch 1.6, a row of pickles; the tensors that their pickle describes, and the numbers
//! beside it. Nothing in them is run ([`super::pickle`]), and numbers are read for those tensors that are wanted.

mod archive;
mod legacy;
mod storage;
mod tensor;
pub mod write;

use std::collections::HashSet;
use std::path::Path;

use super::error::Cause;
use super::pickle::Value;
use super::tensors::{Listed, Tensors, count};
use storage::Storages;
use tensor::{Described, describe};

/// A file of `torch.save`: what was saved, and where its numbers lie.
#[derive(Debug)]
pub struct Saved {
    /// What was handed to `torch.save`.
    pub root: Value,
    storages: Storages,
}

/// What begins an archive of PyTorch 1.6 or later.
pub fn is_archive(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04")
}

/// What begins a pickle of protocol 2 or later. Before PyTorch 1.6 a file was a row of them.
pub fn is_pickle(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..])
}

impl Saved {
    /// Opens an archive.
    ///
    /// # Errors
    /// When it is damaged, or not what `torch.save` writes.
    pub fn archive(path: &Path) -> Result<Self, Cause> {
        let (root, archive) = archive::open(path)?;
        Ok(Saved { root, storages: Storages::Archive(archive) })
    }

    /// Opens a file from before PyTorch 1.6.
    ///
    /// # Errors
    /// When it is damaged, or a pickle of something else.
    pub fn legacy(path: &Path) -> Result<Self, Cause> {
        let (root, legacy) = legacy::open(path)?;
        Ok(Saved { root, storages: Storages::Legacy(legacy) })
    }

    /// The tensors of one dictionary in it.
    ///
    /// # Errors
    /// When a tensor is described in a way that no file of PyTorch does, or a key stands twice.
    pub fn tensors(self, dictionary: &Value) -> Result<StateDict, Cause> {
        let (mut listed, mut described, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for (key, value) in dictionary.entries().unwrap_or_default() {
            let Some(key) = key.text() else { continue };
            if !seen.insert(key) {
                return Err(Cause::tensor(key, "it stands twice in the file"));
            }
            match describe(value).map_err(|what| Cause::tensor(key, what))? {
                None => others.push((key.to_owned(), value.kind())),
                Some(tensor) => {
                    let (dims, element) = (tensor.dims.clone(), tensor.element.clone());
                    listed.push(Listed { key: key.to_owned(), dims, element });
                    described.push(tensor);
                }
            }
        }
        Ok(StateDict { listed, described, others, storages: self.storages })
    }
}

/// A dictionary of tensors.
#[derive(Debug)]
pub struct StateDict {
    listed: Vec<Listed>,
    described: Vec<Described>,
    others: Vec<(String, String)>,
    storages: Storages,
}

impl Tensors for StateDict {
    fn listed(&self) -> &[Listed] {
        &self.listed
    }

    fn bytes(&mut self, index: usize) -> Result<Vec<u8>, Cause> {
        let (key, tensor) = (&self.listed[index].key, &self.described[index]);
        if tensor.element.width() == 0 || count(&tensor.dims) == Some(0) {
            return Ok(Vec::new());
        }
        let storage = self.storages.read(key, tensor)?;
        Ok(tensor::gather(tensor, storage))
    }

    fn length(&self) -> u64 {
        self.storages.length()
    }

    fn others(&self) -> &[(String, String)] {
        &self.others
    }
}
