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
use super::tensors::{LONGEST_KEY, Listed, Tensors, count};
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
    /// When a key stands twice, or is longer than any.
    pub fn tensors(self, dictionary: &Value) -> Result<StateDict, Cause> {
        let mut all = StateDict {
            listed: Vec::new(),
            values: Vec::new(),
            others: Vec::new(),
            odd: Vec::new(),
            storages: self.storages,
        };
        let (mut seen, mut nameless) = (HashSet::new(), Vec::new());
        for (key, value) in dictionary.entries().unwrap_or_default() {
            let Some(key) = key.text() else {
                nameless.push(key);
                continue;
            };
            if key.len() > LONGEST_KEY {
                let what = format!("this key has {} bytes; up to {LONGEST_KEY} are read", key.len());
                return Err(Cause::tensor(key, what));
            }
            if !seen.insert(key) {
                return Err(Cause::tensor(key, "it stands twice in the file"));
            }
            all.take(key.to_owned(), value);
        }
        // one line for all of them, which tells them from each other by nothing
        if let Some(first) = nameless.first() {
            let what = format!("{} keys of which the first is {}", nameless.len(), first.kind());
            all.others.push((what, "what has no name".into()));
        }
        Ok(all)
    }
}

/// A dictionary of tensors.
#[derive(Debug)]
pub struct StateDict {
    listed: Vec<Listed>,
    /// The description of each that is listed. Many may share one, which is why it is kept as it stands.
    values: Vec<Value>,
    others: Vec<(String, String)>,
    /// What is said of as a tensor and can't be one.
    odd: Vec<(String, Value)>,
    storages: Storages,
}

impl StateDict {
    fn take(&mut self, key: String, value: &Value) {
        match describe(value) {
            Ok(None) => self.others.push((key, value.kind())),
            Ok(Some(Described { dims, element, .. })) => {
                self.listed.push(Listed { key, dims, element });
                self.values.push(value.clone());
            }
            Err(_) => self.odd.push((key, value.clone())),
        }
    }
}

impl Tensors for StateDict {
    fn listed(&self) -> &[Listed] {
        &self.listed
    }

    fn bytes(&mut self, index: usize) -> Result<Vec<u8>, Cause> {
        let key = &self.listed[index].key;
        let described = describe(&self.values[index]).map_err(|what| Cause::tensor(key, what))?;
        match described {
            Some(tensor) if tensor.element.width() > 0 && count(&tensor.dims) != Some(0) => {
                self.storages.read(key, &tensor)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn unreadable(&self) -> Box<dyn Iterator<Item = (&str, String)> + '_> {
        Box::new(self.odd.iter().filter_map(|(key, value)| Some((&**key, describe(value).err()?))))
    }

    fn length(&self) -> u64 {
        self.storages.length()
    }

    fn others(&self) -> &[(String, String)] {
        &self.others
    }
}
