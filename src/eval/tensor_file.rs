//! Named numbers in a safetensors file: features that come from elsewhere, and where a long evaluation stands.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{Error as IoError, ErrorKind};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::checkpoint::atomic;
use crate::error::Error;

/// A tensor's numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Of any precision in the file.
    Real(Vec<f32>),
    /// Of any width in the file.
    Whole(Vec<i64>),
}

/// Numbers with their dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dims: Vec<usize>,
    pub numbers: Numbers,
}

impl Tensor {
    /// Of f32.
    pub fn real(dims: Vec<usize>, values: &[f32]) -> Self {
        Tensor { dims, numbers: Numbers::Real(values.to_vec()) }
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
            let numbers = numbers(view.dtype(), view.data());
            let numbers = numbers
                .ok_or_else(|| format!("`{name}` is of type {:?}, which is not read", view.dtype()))?;
            tensors.insert(name, Tensor { dims: view.shape().to_vec(), numbers });
        }
        Ok(TensorFile { tensors, note })
    }

    /// Takes out f32 numbers of these dimensions.
    ///
    /// # Errors
    /// What is there instead.
    pub fn take(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>, String> {
        match self.tensors.remove(name) {
            Some(Tensor { dims: found, numbers: Numbers::Real(values) }) if found == dims => Ok(values),
            Some(other) => Err(format!("`{name}` is of shape {:?}; expected {dims:?} of floats", other.dims)),
            None => Err(format!("there is no `{name}` in it")),
        }
    }
}

/// Little-endian numbers of a kind that is read.
fn numbers(kind: Dtype, bytes: &[u8]) -> Option<Numbers> {
    fn each<const N: usize, T>(bytes: &[u8], one: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&bytes| one(bytes)).collect()
    }
    Some(match kind {
        Dtype::F32 => Numbers::Real(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Numbers::Real(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        Dtype::F16 => Numbers::Real(each(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Numbers::Real(each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::I64 => Numbers::Whole(each(bytes, i64::from_le_bytes)),
        Dtype::I32 => Numbers::Whole(each(bytes, |b| i64::from(i32::from_le_bytes(b)))),
        Dtype::U32 => Numbers::Whole(each(bytes, |b| i64::from(u32::from_le_bytes(b)))),
        Dtype::U8 => Numbers::Whole(bytes.iter().map(|&b| i64::from(b)).collect()),
        _ => return None,
    })
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::Real(_) => Dtype::F32,
            Numbers::Whole(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.dims
    }

    // numbers are written as they lie in memory, which is little-endian wherever dinoflow is built
    fn data(&self) -> Cow<'_, [u8]> {
        match &self.numbers {
            Numbers::Real(values) => bytemuck::cast_slice(values).into(),
            Numbers::Whole(values) => bytemuck::cast_slice(values).into(),
        }
    }

    fn data_len(&self) -> usize {
        match &self.numbers {
            Numbers::Real(values) => size_of_val(&values[..]),
            Numbers::Whole(values) => size_of_val(&values[..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let whole = Tensor { dims: vec![2], numbers: Numbers::Whole(vec![-3, 1 << 40]) };
        let real = Tensor::real(vec![2, 3], &[1.0, -0.0, 3.5, f32::MIN_POSITIVE, 5.0, 6.0]);
        let tensors = [("b".to_owned(), real), ("a".to_owned(), whole)].into();
        let file = TensorFile { tensors, note: "{\"epoch\": 3}".into() };
        file.write(&path).unwrap();
        let mut found = TensorFile::read(&path).unwrap();
        assert_eq!(found, file);
        assert!(found.take("b", &[3, 2]).unwrap_err().contains("[2, 3]"));
        assert!(found.take("c", &[1]).unwrap_err().contains("no `c`"));
        std::fs::write(&path, b"nothing of the kind").unwrap();
        let error = TensorFile::read(&path).unwrap_err();
        assert!(error.to_string().contains("safetensors") && error.exit_status() == 2, "{error}");
    }

    #[test]
    fn kinds_of_numbers() {
        assert_eq!(numbers(Dtype::F64, &2.5f64.to_le_bytes()), Some(Numbers::Real(vec![2.5])));
        assert_eq!(numbers(Dtype::F16, &f16::from_f32(0.5).to_le_bytes()), Some(Numbers::Real(vec![0.5])));
        assert_eq!(numbers(Dtype::U8, &[7, 9]), Some(Numbers::Whole(vec![7, 9])));
        assert_eq!(numbers(Dtype::BOOL, &[1]), None);
    }
}
