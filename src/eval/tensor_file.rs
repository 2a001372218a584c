//! Where a long evaluation stands, in a safetensors file: named tensors of f32 and a text beside them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{Error as IoError, ErrorKind};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::checkpoint::atomic;
use crate::error::Error;

/// Numbers, row-major, with their dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dims: Vec<usize>,
    pub values: Vec<f32>,
}

impl Tensor {
    pub fn new(dims: Vec<usize>, values: &[f32]) -> Self {
        Tensor { dims, values: values.to_vec() }
    }
}

/// A file's tensors by name, and a text beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFile {
    pub tensors: BTreeMap<String, Tensor>,
    /// The file's metadata under the key `note`.
    pub note: String,
}

const NOTE: &str = "note";

impl TensorFile {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let file = |cause| Error::File { doing: "write", path: path.to_owned(), cause };
        let note = HashMap::from([(NOTE.to_owned(), self.note.clone())]);
        let bytes = safetensors::serialize(&self.tensors, Some(note));
        let bytes = bytes.map_err(|e| file(IoError::other(e.to_string())))?;
        atomic::write(path, |to| to.write_all(&bytes)).map_err(file)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, is no safetensors file, or holds numbers of a kind that is not read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = |cause| Error::File { doing: "read", path: path.to_owned(), cause };
        let bytes = std::fs::read(path).map_err(file)?;
        Self::parse(&bytes).map_err(|text| file(IoError::new(ErrorKind::InvalidData, text)))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let invalid = |e: safetensors::SafeTensorError| format!("expected a safetensors file: {e}");
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(invalid)?;
        let note = metadata.metadata().as_ref().and_then(|m| m.get(NOTE)).cloned().unwrap_or_default();
        let all = SafeTensors::deserialize(bytes).map_err(invalid)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in all.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(format!("`{name}` is of type {:?}; expected F32", view.dtype()));
            }
            let values = bytemuck::pod_collect_to_vec(view.data());
            tensors.insert(name, Tensor { dims: view.shape().to_vec(), values });
        }
        Ok(TensorFile { tensors, note })
    }

    /// Takes out f32 numbers of these dimensions.
    ///
    /// # Errors
    /// What is there instead.
    pub fn take(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>, String> {
        match self.tensors.remove(name) {
            Some(Tensor { dims: found, values }) if found == dims => Ok(values),
            Some(other) => Err(format!("`{name}` is of shape {:?}; expected {dims:?}", other.dims)),
            None => Err(format!("there is no `{name}` in it")),
        }
    }
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.dims
    }

    // numbers are written as they lie in memory, which is little-endian wherever dinoflow is built
    fn data(&self) -> Cow<'_, [u8]> {
        bytemuck::cast_slice(&self.values).into()
    }

    fn data_len(&self) -> usize {
        size_of_val(&self.values[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensor = Tensor::new(vec![2, 3], &[1.0, -0.0, 3.5, f32::MIN_POSITIVE, 5.0, 6.0]);
        let file = TensorFile { tensors: [("b".to_owned(), tensor)].into(), note: "{\"epoch\": 3}".into() };
        file.write(&path).unwrap();
        let mut found = TensorFile::read(&path).unwrap();
        assert_eq!(found, file);
        assert!(found.take("b", &[3, 2]).unwrap_err().contains("[2, 3]"));
        assert!(found.take("c", &[1]).unwrap_err().contains("no `c`"));
        std::fs::write(&path, b"nothing of the kind").unwrap();
        let error = TensorFile::read(&path).unwrap_err();
        assert!(error.to_string().contains("safetensors") && error.exit_status() == 2, "{error}");
    }
}
