//! Features as a safetensors file.

use std::collections::HashMap;
use std::io::{Result, copy};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::collect::Collected;
use super::other;
use crate::checkpoint::atomic;

/// Writes the header, then each column after the other.
pub fn write(path: &Path, collected: &mut Collected) -> Result<()> {
    let (rows, names, numbers) = (collected.len(), collected.lines(), collected.numbers());
    let mut tensors = Vec::new();
    let mut end = 0;
    let mut tensor = |name: &str, dtype: Dtype, shape: Vec<usize>| {
        let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        tensors.push((name.to_owned(), TensorInfo { dtype, shape, data_offsets: (end, end + bytes) }));
        end += bytes;
    };
    tensor("cls", Dtype::F32, vec![rows, collected.dim]);
    if let Some((count, dim)) = collected.patches {
        tensor("patches", Dtype::F32, vec![rows, count, dim]);
    }
    if numbers.is_some() {
        tensor("labels", Dtype::I64, vec![rows]);
    }
    tensor("names", Dtype::U8, vec![names.len()]);
    let classes = serde_json::to_string(&collected.classes).map_err(other)?;
    let about = HashMap::from([("classes".to_owned(), classes)]);
    let mut header =
        serde_json::to_vec(&Metadata::new(Some(about), tensors).map_err(other)?).map_err(other)?;
    // tensors begin at a multiple of eight
    header.resize(header.len().next_multiple_of(8), b' ');
    let (mut cls, mut patches) = (collected.cls()?, collected.patches()?);
    atomic::write(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        copy(&mut cls, file)?;
        copy(&mut patches, file)?;
        file.write_all(bytemuck::cast_slice(&numbers.unwrap_or_default()))?;
        file.write_all(names.as_bytes())
    })
}
