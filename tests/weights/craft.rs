//! Files made by hand, right and wrong, and how they are opened under watch.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dinoflow::tensor::allocator::{count_apart, here};
use dinoflow::weights::pickle::{Object, Value, write::pickle};
use dinoflow::weights::{Opened, WeightsError, Which, open};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Stack of the threads that read what means harm: less than any thread of the program has.
const STACK: usize = 512 << 10;

/// Does `work` on a thread of its own with a small stack; its result, and the bytes that it allocated, what was freed among them.
pub fn watched<T: Send>(work: impl FnOnce() -> T + Send) -> (T, u64) {
    std::thread::scope(|scope| {
        let counted = || {
            count_apart();
            let before = here();
            let done = work();
            (done, (here() - before).bytes)
        };
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, counted).unwrap();
        thread.join().unwrap()
    })
}

/// What a file comes to, and the bytes that opening it allocated.
pub fn opened(name: &str, bytes: &[u8]) -> (Result<Opened, WeightsError>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), name, bytes);
    watched(|| open(&path, Which::Teacher))
}

pub fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The file is refused with these words, and no more is allocated than a small multiple of it.
#[track_caller]
pub fn refused(name: &str, file: &str, bytes: &[u8], words: &str) {
    let (result, allocated) = opened(file, bytes);
    let error = result.expect_err(name).to_string();
    assert!(error.contains(words), "{name}: {error:?} lacks {words:?}");
    // whatever the file says, a terminal shows it and it fits there
    assert!(!error.contains(char::is_control) && error.chars().count() < 1600, "{name}: {error:?}");
    let bound = (1 << 20) + 64 * bytes.len() as u64;
    assert!(allocated <= bound, "{name}: {allocated} bytes allocated for a file of {}", bytes.len());
}

/// A zip archive of stored members.
pub fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An archive of `torch.save` with this dictionary and one storage, `0`.
pub fn saved(dictionary: &Value, storage: &[u8]) -> Vec<u8> {
    archive(&[("x/data.pkl", &pickle(dictionary)), ("x/byteorder", b"little"), ("x/data/0", storage)])
}

pub fn text(text: &str) -> Value {
    Value::Str(text.into())
}

pub fn ints(numbers: &[i64]) -> Value {
    Value::Tuple(numbers.iter().map(|&number| Value::Int(number)).collect())
}

pub fn dict(entries: Vec<(&str, Value)>) -> Value {
    Value::Dict(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
}

pub fn object(class: &str, arguments: Vec<Value>) -> Value {
    Value::Object(Arc::new(Object {
        class: class.into(),
        arguments: Value::Tuple(arguments.into()),
        state: Value::None,
        entries: Vec::new(),
        appended: Vec::new(),
    }))
}

/// A reference to storage `0` of so many numbers.
pub fn storage(class: &str, numbers: i64) -> Value {
    let parts = [text("storage"), Value::Global(class.into()), text("0"), text("cpu"), Value::Int(numbers)];
    Value::Persistent(Arc::new(Value::Tuple(parts.into())))
}

/// A tensor as PyTorch describes it.
pub fn tensor(storage: Value, offset: i64, dims: &[i64], strides: &[i64]) -> Value {
    let (offset, none) = (Value::Int(offset), object("collections.OrderedDict", Vec::new()));
    let arguments = vec![storage, offset, ints(dims), ints(strides), Value::Bool(false), none];
    object("torch._utils._rebuild_tensor_v2", arguments)
}

/// A safetensors file of this header and so many bytes behind it.
pub fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(data);
    file
}
