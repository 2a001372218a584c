//! Safetensors files, the header first: it is held against the file before anything else is read.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::error::Cause;
use super::tensors::{AXES, Element, Listed, Tensors};
use super::words::shown;

/// The longest header that is read, in bytes (the format's own limit).
const LONGEST: u64 = 100_000_000;

/// A safetensors file whose header fits it.
#[derive(Debug)]
pub struct Safetensors {
    file: File,
    length: u64,
    listed: Vec<Listed>,
    /// Where each tensor's bytes lie in the file: from and to.
    places: Vec<(u64, u64)>,
}

impl Safetensors {
    /// Reads and judges a file's header.
    ///
    /// # Errors
    /// When the header is no safetensors header, or lists what the file doesn't hold: overlapping or missing bytes, shapes that overflow, a
    /// key twice.
    pub fn open(path: &Path) -> Result<Self, Cause> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let header = header(&mut file, length)?;
        let start = 8 + header.len() as u64;
        let Header { words, tensors } = serde_json::from_slice(&header)
            .map_err(|e| Cause::Safetensors(format!("its header is damaged: {e}")))?;
        let metadata = Metadata::new(words, tensors)
            .map_err(|e| Cause::Safetensors(format!("its header contradicts itself: {e}")))?;
        let held = start.checked_add(metadata.data_len() as u64);
        if held != Some(length) {
            let said = metadata.data_len();
            return Err(Cause::Safetensors(format!(
                "its header lists {said} bytes of tensors, the file holds {}: it is cut short or damaged",
                length - start
            )));
        }
        let (mut listed, mut places) = (Vec::new(), Vec::new());
        for key in metadata.offset_keys() {
            let Some(info) = metadata.info(&key) else { continue };
            if info.shape.len() > AXES {
                let what = format!("it has {} axes; up to {AXES} are read", info.shape.len());
                return Err(Cause::tensor(&key, what));
            }
            let (from, to) = info.data_offsets;
            places.push((start + from as u64, start + to as u64));
            listed.push(Listed { element: element(info.dtype), dims: info.shape.clone(), key });
        }
        Ok(Safetensors { file, length, listed, places })
    }
}

impl Tensors for Safetensors {
    fn listed(&self) -> &[Listed] {
        &self.listed
    }

    fn bytes(&mut self, index: usize) -> Result<Vec<u8>, Cause> {
        // the header was held against the file, so no more is allocated than it holds
        let (from, to) = self.places[index];
        let mut bytes = vec![0; (to - from) as usize];
        self.file.seek(SeekFrom::Start(from))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn length(&self) -> u64 {
        self.length
    }
}

/// The header's text. Its length stands in front of it, in eight bytes.
fn header(file: &mut File, length: u64) -> Result<Vec<u8>, Cause> {
    let wrong = |what: String| Err(Cause::Safetensors(what));
    let mut first = [0; 8];
    if length < 8 {
        return wrong(format!("it has {length} bytes; a safetensors file has at least 8"));
    }
    file.read_exact(&mut first)?;
    let said = u64::from_le_bytes(first);
    if said > LONGEST || said > length - 8 {
        return wrong(format!("its header is said to have {said} bytes, of {} in the file", length - 8));
    }
    let mut header = vec![0; said as usize];
    file.read_exact(&mut header)?;
    Ok(header)
}

fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F64 => Element::F64,
        // counts that can't be told apart below 2^63
        Dtype::I64 | Dtype::U64 => Element::I64,
        other => Element::Other(format!("{other:?}").into()),
    }
}

/// A header as it is written. A map would take the later of two equal keys and say nothing.
struct Header {
    words: Option<HashMap<String, String>>,
    tensors: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header { words: None, tensors: Vec::new() };
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("{} stands there twice", shown(&key))));
            }
            if key == "__metadata__" {
                header.words = Some(map.next_value()?);
            } else {
                header.tensors.push((key, map.next_value()?));
            }
        }
        // the crate judges ranges in the order in which they lie
        header.tensors.sort_by_key(|(_, info)| info.data_offsets);
        Ok(header)
    }
}
