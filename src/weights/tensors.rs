//! Tensors that a file lists and that are not read yet: names, shapes and types first, numbers for those that are wanted.

use std::sync::Arc;

use half::{bf16, f16};

use super::error::Cause;
use super::words::shown;
use crate::runtime::stage::SavedTensor;

/// The most axes of a tensor; weights have four.
pub const AXES: usize = 8;

/// The longest name of a tensor or a storage, in bytes.
pub const LONGEST_KEY: usize = 1 << 10;

/// The type of a tensor's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    F32,
    F16,
    Bf16,
    F64,
    I64,
    /// Any other, by the file's word for it.
    Other(Arc<str>),
}

/// A tensor as its file lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub dims: Vec<usize>,
    pub element: Element,
}

/// The tensors of a file.
pub trait Tensors {
    /// What there is, in the file's order; no key twice.
    fn listed(&self) -> &[Listed];

    /// Of the tensor at `index` of the list: its numbers, row-major, as bytes of its element type, the lowest first.
    ///
    /// # Errors
    /// When the file can't be read or is not as its list says.
    fn bytes(&mut self, index: usize) -> Result<Vec<u8>, Cause>;

    /// The file's length in bytes, which bounds what is read of it.
    fn length(&self) -> u64;

    /// Entries that are no tensors, each with what it is.
    fn others(&self) -> &[(String, String)] {
        &[]
    }

    /// Tensors of a kind that is not read, each with why: they matter where a network needs them.
    fn unreadable(&self) -> Box<dyn Iterator<Item = (&str, String)> + '_> {
        Box::new(std::iter::empty())
    }
}

impl Element {
    /// Bytes of one number; 0 of a type that is not read.
    pub fn width(&self) -> usize {
        match self {
            Element::F64 | Element::I64 => 8,
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
            Element::Other(_) => 0,
        }
    }

    /// The name by which people know it.
    pub fn name(&self) -> &str {
        match self {
            Element::F32 => "float32",
            Element::F16 => "float16",
            Element::Bf16 => "bfloat16",
            Element::F64 => "float64",
            Element::I64 => "int64",
            Element::Other(name) => name,
        }
    }
}

/// A tensor's numbers: floats as f32, 64-bit counts as they are.
///
/// # Errors
/// When they are of another type, or a count is below 0.
pub fn numbers(listed: &Listed, bytes: &[u8]) -> Result<SavedTensor, Cause> {
    let dims = listed.dims.clone();
    let values = match &listed.element {
        Element::F32 => each(bytes, f32::from_le_bytes),
        Element::F16 => each(bytes, |two| f16::from_le_bytes(two).to_f32()),
        Element::Bf16 => each(bytes, |two| bf16::from_le_bytes(two).to_f32()),
        Element::F64 => each(bytes, |eight| f64::from_le_bytes(eight) as f32),
        Element::I64 => {
            let values = each(bytes, u64::from_le_bytes);
            return match values.iter().all(|&count| count <= i64::MAX as u64) {
                true => Ok(SavedTensor::U64 { dims, values }),
                false => Err(Cause::tensor(&listed.key, "a count below 0")),
            };
        }
        Element::Other(name) => {
            let what =
                format!("it holds {}; float32, float16, bfloat16, float64 and int64 are read", shown(name));
            return Err(Cause::tensor(&listed.key, what));
        }
    };
    Ok(SavedTensor::F32 { dims, values })
}

fn each<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| number(chunk)).collect()
}

/// How many numbers a shape has; none when that overflows.
pub fn count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
}
