//! Archives as `torch.save` writes them: a pickle and one stored member a storage, aligned for those that map files to memory.

use std::io::{Error, Result, Seek, Write};
use std::sync::Arc;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::runtime::stage::SavedTensor;
use crate::weights::pickle::{Object, Value, write::pickle};

/// What can be saved.
#[derive(Clone, Debug)]
pub enum Item<'a> {
    Tensor(&'a SavedTensor),
    Int(i64),
    /// In this order.
    Dict(Vec<(String, Item<'a>)>),
}

/// The folder within the archive, as `torch.save` calls it where it knows no better.
const FOLDER: &str = "archive";

/// Writes an archive that `torch.load(…, weights_only=True)` reads.
///
/// # Errors
/// When `to` can't be written.
pub fn write(to: impl Write + Seek, item: &Item<'_>) -> Result<()> {
    let mut storages = Vec::new();
    let root = pickle(&value(item, &mut storages));
    let mut zip = ZipWriter::new(to);
    let mut member = |name: &str, bytes: &[u8]| -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX))
            .with_alignment(64);
        zip.start_file(format!("{FOLDER}/{name}"), options).map_err(Error::other)?;
        zip.write_all(bytes)
    };
    member("data.pkl", &root)?;
    member("byteorder", b"little")?;
    for (number, tensor) in storages.iter().enumerate() {
        let bytes = match tensor {
            SavedTensor::F32 { values, .. } => bytemuck::cast_slice(values),
            SavedTensor::U64 { values, .. } => bytemuck::cast_slice(values),
        };
        member(&format!("data/{number}"), bytes)?;
    }
    member("version", b"3\n")?;
    zip.finish().map_err(Error::other)?;
    Ok(())
}

/// What the pickle says of an item; its tensors go to `storages`.
fn value<'a>(item: &Item<'a>, storages: &mut Vec<&'a SavedTensor>) -> Value {
    match item {
        Item::Int(number) => Value::Int(*number),
        Item::Dict(entries) => {
            let entries = entries.iter().map(|(key, item)| (text(key), value(item, storages)));
            Value::Dict(entries.collect())
        }
        Item::Tensor(tensor) => {
            storages.push(tensor);
            described(tensor, storages.len() - 1)
        }
    }
}

/// A call of `_rebuild_tensor_v2`: storage, offset, size, strides, requires_grad, hooks.
fn described(tensor: &SavedTensor, number: usize) -> Value {
    let (class, dims, len) = match tensor {
        SavedTensor::F32 { dims, values } => ("torch.FloatStorage", dims, values.len()),
        SavedTensor::U64 { dims, values } => ("torch.LongStorage", dims, values.len()),
    };
    let storage = [
        text("storage"),
        Value::Global(class.into()),
        text(&number.to_string()),
        text("cpu"),
        Value::Int(len as i64),
    ];
    let strides: Vec<usize> = (1..=dims.len()).map(|axis| dims[axis..].iter().product()).collect();
    let arguments = [
        Value::Persistent(Arc::new(Value::Tuple(storage.into()))),
        Value::Int(0),
        sizes(dims),
        sizes(&strides),
        Value::Bool(false),
        object("collections.OrderedDict", []),
    ];
    object("torch._utils._rebuild_tensor_v2", arguments)
}

fn object<const N: usize>(class: &str, arguments: [Value; N]) -> Value {
    Value::Object(Arc::new(Object {
        class: class.into(),
        arguments: Value::Tuple(arguments.into()),
        state: Value::None,
        entries: Vec::new(),
        appended: Vec::new(),
    }))
}

fn text(text: &str) -> Value {
    Value::Str(text.into())
}

fn sizes(sizes: &[usize]) -> Value {
    Value::Tuple(sizes.iter().map(|&size| Value::Int(size as i64)).collect())
}
