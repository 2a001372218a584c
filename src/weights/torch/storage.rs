//! Where the numbers of a file of `torch.save` lie.

use super::archive::Archive;
use super::legacy::Legacy;
use super::tensor::Described;
use crate::weights::error::Cause;

/// The storages of a file.
#[derive(Debug)]
pub enum Storages {
    Archive(Archive),
    Legacy(Legacy),
}

/// A storage that was read: tensors that share one are read one after the other as a rule.
#[derive(Debug, Default)]
pub struct Kept {
    name: String,
    bytes: Vec<u8>,
}

impl Kept {
    /// The bytes of the storage `name`, read by `read` unless they are at hand.
    pub fn get(&mut self, name: &str, read: impl FnOnce() -> Result<Vec<u8>, Cause>) -> Result<&[u8], Cause> {
        if self.name != name || self.bytes.is_empty() {
            // the old one goes before the new one comes
            *self = Kept::default();
            *self = Kept { bytes: read()?, name: name.to_owned() };
        }
        Ok(&self.bytes)
    }
}

impl Storages {
    /// The bytes of a tensor's storage, as many as its description says.
    pub fn read(&mut self, key: &str, tensor: &Described) -> Result<&[u8], Cause> {
        let bytes = match self {
            Storages::Archive(archive) => archive.storage(key, &tensor.storage)?,
            Storages::Legacy(legacy) => legacy.storage(key, &tensor.storage)?,
        };
        let expected = tensor.numbers.checked_mul(tensor.element.width());
        if expected.is_none_or(|expected| expected > bytes.len()) {
            let (numbers, found) = (tensor.numbers, bytes.len());
            let what = format!(
                "its storage is said to have {numbers} numbers and has {found} bytes: the file is damaged"
            );
            return Err(Cause::tensor(key, what));
        }
        Ok(bytes)
    }

    /// The file's length.
    pub fn length(&self) -> u64 {
        match self {
            Storages::Archive(archive) => archive.length,
            Storages::Legacy(legacy) => legacy.length,
        }
    }
}
