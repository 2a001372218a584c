//! States as safetensors files.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Error, Read, Result};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::runtime::stage::{SavedTensor, State};

/// How a whole file is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    pub bytes: u64,
    /// CRC-32 (IEEE) of the content.
    pub crc32: u32,
}

/// Writes tensors to a new file, down to the disk, and seals it.
pub fn write(path: &Path, tensors: &State) -> Result<Seal> {
    let (views, metadata) = (views(tensors)?, metadata());
    // safetensors leaves a file that its owner alone can read; an ordinary one shows what the user's mask allows
    let permissions = File::create(path)?.metadata()?.permissions();
    safetensors::serialize_to_file(views, metadata, path).map_err(Error::other)?;
    let file = File::open(path)?;
    file.set_permissions(permissions)?;
    file.sync_all()?;
    seal(path)
}

/// The same as bytes.
///
/// # Errors
/// When a tensor has not as many numbers as its shape says.
pub fn serialize(tensors: &State) -> Result<Vec<u8>> {
    safetensors::serialize(views(tensors)?, metadata()).map_err(Error::other)
}

fn views(tensors: &State) -> Result<Vec<(&String, TensorView<'_>)>> {
    tensors.iter().map(|(name, tensor)| Ok((name, view(tensor)?))).collect()
}

/// What PyTorch's own readers look for.
fn metadata() -> Option<HashMap<String, String>> {
    Some(HashMap::from([("format".to_owned(), "pt".to_owned())]))
}

/// Reads back what [`write()`] wrote.
pub fn read(path: &Path) -> Result<State> {
    let bytes = std::fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(Error::other)?;
    file.iter().map(|(name, view)| Ok((name.to_owned(), tensor(name, &view)?))).collect()
}

/// Size and checksum of a file.
pub fn seal(path: &Path) -> Result<Seal> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(Seal { bytes, crc32: hasher.finalize() });
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

// safetensors is little-endian, and so is every processor that dinoflow builds for
#[cfg(target_endian = "big")]
compile_error!("checkpoints are written as the numbers lie in memory, which must be little-endian");

fn view(tensor: &SavedTensor) -> Result<TensorView<'_>> {
    let (dtype, dims, bytes) = match tensor {
        SavedTensor::F32 { dims, values } => (Dtype::F32, dims, bytemuck::cast_slice(values)),
        // counts are the published files' 64-bit integers, which are signed
        SavedTensor::U64 { dims, values } => (Dtype::I64, dims, bytemuck::cast_slice(values)),
    };
    TensorView::new(dtype, dims.clone(), bytes).map_err(Error::other)
}

fn tensor(name: &str, view: &TensorView<'_>) -> Result<SavedTensor> {
    let dims = view.shape().to_vec();
    match view.dtype() {
        Dtype::F32 => Ok(SavedTensor::F32 { dims, values: bytemuck::pod_collect_to_vec(view.data()) }),
        Dtype::I64 => Ok(SavedTensor::U64 { dims, values: bytemuck::pod_collect_to_vec(view.data()) }),
        other => Err(Error::other(format!("{name} is of type {other:?}; expected F32 or I64"))),
    }
}

/// The tensors of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// By the stem of their file, `student`, `teacher`, `state`, and their name there.
    pub files: BTreeMap<String, State>,
    /// For what stands under its published key: the node that saved it, by `student/backbone.cls_token`.
    pub owners: BTreeMap<String, String>,
}
