//! Files of `torch.save` from before PyTorch 1.6: five pickles in a row (a magic number, a version, the machine, what was saved, the names of
//! the storages), then the storages, each behind its length.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::tensor::reference;
use crate::weights::error::Cause;
use crate::weights::pickle::{self, Pickle, Value};
use crate::weights::tensors::Element;
use crate::weights::words::shown;

/// 0x1950a86a20f9469cfc6c, the lowest byte first.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// An open file.
#[derive(Debug)]
pub struct Legacy {
    file: File,
    pub length: u64,
    /// Where each storage's numbers lie: from, and how many bytes.
    places: HashMap<Arc<str>, (u64, u64)>,
}

/// Opens a file and reads its pickles.
pub fn open(path: &Path) -> Result<(Value, Legacy), Cause> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::with_capacity(length.min(pickle::LONGEST as u64) as usize);
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
    Ok((saved.root, Legacy { file, length, places }))
}

/// Walks over the storages, which lie one after the other in the order of `names`.
fn places(
    file: &mut File,
    length: u64,
    mut at: u64,
    references: &[Value],
    names: &Value,
) -> Result<HashMap<Arc<str>, (u64, u64)>, Cause> {
    let known = references.iter().filter_map(|value| reference(value).ok());
    let widths: HashMap<Arc<str>, usize> = known.map(|(key, _, element)| (key, width(&element))).collect();
    let mut places = HashMap::new();
    for name in names.members().unwrap_or_default() {
        let Value::Str(name) = name else {
            let what = format!("its list of storages names {}; expected texts: it is damaged", name.kind());
            return Err(Cause::Archive(what));
        };
        let wrong = |what: &str| Cause::Archive(format!("its storage {} {what}", shown(name)));
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
        places.insert(name.clone(), (at + 8, bytes));
        at += 8 + bytes;
    }
    Ok(places)
}

/// Bytes of one number of a storage, also of those that are only stepped over; 0 of an unknown type.
fn width(element: &Element) -> usize {
    let Element::Other(class) = element else { return element.width() };
    match class.rsplit('.').next().unwrap_or_default() {
        "ByteStorage" | "CharStorage" | "BoolStorage" | "QUInt8Storage" | "QInt8Storage" => 1,
        "ShortStorage" => 2,
        "IntStorage" => 4,
        "ComplexFloatStorage" => 8,
        "ComplexDoubleStorage" => 16,
        _ => 0,
    }
}

impl Legacy {
    /// How many bytes a storage has; none where it is not there.
    pub fn size(&self, storage: &str) -> Option<u64> {
        self.places.get(storage).map(|&(_, bytes)| bytes)
    }

    /// So many bytes of a storage, which has them ([`Legacy::size`]).
    pub fn storage(&mut self, storage: &str, from: u64, bytes: usize) -> Result<Vec<u8>, Cause> {
        let start = self.places.get(storage).map_or(0, |&(start, _)| start);
        let mut all = vec![0; bytes];
        self.file.seek(SeekFrom::Start(start + from))?;
        self.file.read_exact(&mut all)?;
        Ok(all)
    }
}
