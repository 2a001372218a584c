//! Files of `torch.save` from before PyTorch 1.6: five pickles in a row (a magic number, a version, the machine, what was saved, the names of
//! the storages), then the storages, each behind its length.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::storage::Kept;
use super::tensor::reference;
use crate::weights::error::Cause;
use crate::weights::pickle::{self, Pickle, Value};
use crate::weights::tensors::Element;

/// 0x1950a86a20f9469cfc6c, the lowest byte first.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// An open file.
#[derive(Debug)]
pub struct Legacy {
    file: File,
    pub length: u64,
    /// Where each storage's numbers lie: from, and how many bytes.
    places: HashMap<String, (u64, u64)>,
    kept: Kept,
}

/// Opens a file and reads its pickles.
pub fn open(path: &Path) -> Result<(Value, Legacy), Cause> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::new();
    (&mut file).take(pickle::LONGEST as u64).read_to_end(&mut head)?;
    let mut at = 0;
    let mut next = || -> Result<Pickle, Cause> {
        let pickle = pickle::read_one(&head[at..])?;
        at += pickle.taken;
        Ok(pickle)
    };
    match next()?.root {
        Value::Long(number) if *number == MAGIC => {}
        other => {
            return Err(Cause::NotWeights {
                found: format!("a pickle of {}, not of torch.save", other.kind()),
            });
        }
    }
    next()?;
    if next()?.root.get("little_endian") == Some(&Value::Bool(false)) {
        return Err(Cause::Archive(
            "its numbers have their highest byte first; save it on a little-endian machine".into(),
        ));
    }
    let saved = next()?;
    let names = next()?.root;
    let places = places(&mut file, length, at as u64, &saved.references, &names)?;
    Ok((saved.root, Legacy { file, length, places, kept: Kept::default() }))
}

/// Walks over the storages, which lie one after the other in the order of `names`.
fn places(
    file: &mut File,
    length: u64,
    mut at: u64,
    references: &[Value],
    names: &Value,
) -> Result<HashMap<String, (u64, u64)>, Cause> {
    let known = references.iter().filter_map(|value| reference(value).ok());
    let widths: HashMap<String, usize> = known.map(|(key, _, element)| (key, width(&element))).collect();
    let mut places = HashMap::new();
    for name in names.members().unwrap_or_default() {
        let name = name.text().unwrap_or_default();
        let wrong = |what: &str| Cause::Archive(format!("its storage {name} {what}"));
        let width = *widths.get(name).filter(|&&width| width > 0).ok_or_else(|| {
            wrong("is of a type that is not read, and those behind it can't be found; load it in Python and save it anew")
        })?;
        let mut count = [0; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut count).map_err(|_| wrong("is not there: the file is cut short"))?;
        let bytes = u64::from_le_bytes(count).checked_mul(width as u64);
        let bytes = bytes.filter(|&bytes| bytes <= length - at - 8);
        let bytes = bytes
            .ok_or_else(|| wrong("is longer than what is left of the file: it is cut short or damaged"))?;
        places.insert(name.to_owned(), (at + 8, bytes));
        at += 8 + bytes;
    }
    Ok(places)
}

/// Bytes of one number of a storage, also of those that are only stepped over; 0 of an unknown type.
fn width(element: &Element) -> usize {
    let Element::Other(class) = element else { return element.width() };
    match class.rsplit('.').next().unwrap_or_default() {
        "ByteStorage" | "CharStorage" | "BoolStorage" => 1,
        "ShortStorage" => 2,
        "IntStorage" => 4,
        "ComplexFloatStorage" => 8,
        _ => 0,
    }
}

impl Legacy {
    /// The bytes of the storage of the tensor `key`.
    pub fn storage(&mut self, key: &str, storage: &str) -> Result<&[u8], Cause> {
        let Legacy { file, places, kept, .. } = self;
        kept.get(storage, || {
            let place = places.get(storage);
            let &(from, bytes) =
                place.ok_or_else(|| Cause::tensor(key, format!("the file has no storage {storage}")))?;
            let mut all = vec![0; bytes as usize];
            file.seek(SeekFrom::Start(from))?;
            file.read_exact(&mut all)?;
            Ok(all)
        })
    }
}
