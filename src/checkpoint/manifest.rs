//! `manifest.json`: what a checkpoint holds, and how to tell that it is whole.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::atomic;
use super::files::{Seal, seal};
use super::kinship::GraphKeys;
use super::saved::Snapshot;

/// The format this program writes, and the only one it reads.
const FORMAT: u32 = 1;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form.
    pub format: u32,
    /// Updates of the weights that are in the checkpoint.
    pub step: u64,
    /// Whether what evaluates at the barrier has done so at this step. Not so after a signal: the resumed run makes up for it.
    pub evaluated: bool,
    /// FNV-1a of `graph`, in hexadecimal.
    pub graph_hash: String,
    /// The graph's keys that a resumed run must share.
    pub graph: GraphKeys,
    /// The other files of the folder.
    pub files: BTreeMap<String, Seal>,
    /// The stage that each tensor of a weights file is the state of.
    pub owners: BTreeMap<String, String>,
}

/// The manifest as it stands in its file, with a checksum of its own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    manifest: Manifest,
    crc32: u32,
}

impl Manifest {
    pub fn new(snapshot: &Snapshot, graph: GraphKeys, files: BTreeMap<String, Seal>) -> Self {
        let Snapshot { step, evaluated, saved } = snapshot;
        let (step, evaluated, owners) = (*step, *evaluated, saved.owners.clone());
        Manifest { format: FORMAT, step, evaluated, graph_hash: hash(&graph), graph, files, owners }
    }

    /// Writes `manifest.json` into a checkpoint's folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let sealed = Sealed { manifest: self.clone(), crc32: self.checksum()? };
        let text = serde_json::to_string_pretty(&sealed).map_err(Error::other)?;
        atomic::write(&folder.join("manifest.json"), |file| writeln!(file, "{text}"))
    }

    /// Reads a checkpoint's manifest and holds every file of it against its seal.
    ///
    /// # Errors
    /// When anything is missing or is not as it was written, with which and how.
    pub fn read(folder: &Path) -> Result<Self> {
        let text = std::fs::read(folder.join("manifest.json")).map_err(|e| named("manifest.json", e))?;
        let Sealed { manifest, crc32 } =
            serde_json::from_slice(&text).map_err(|e| named("manifest.json", e))?;
        if manifest.format != FORMAT {
            let text = format!("its format is {}, this program reads {FORMAT}", manifest.format);
            return Err(named("manifest.json", text));
        }
        if manifest.checksum()? != crc32 {
            return Err(named("manifest.json", "its checksum does not fit"));
        }
        for (name, expected) in &manifest.files {
            let found = seal(&folder.join(name)).map_err(|e| named(name, e))?;
            if found != *expected {
                let text = format!("expected {} bytes with another checksum", expected.bytes);
                return Err(named(name, format!("it has {} bytes, {text}", found.bytes)));
            }
        }
        Ok(manifest)
    }

    fn checksum(&self) -> Result<u32> {
        Ok(crc32fast::hash(serde_json::to_string(self).map_err(Error::other)?.as_bytes()))
    }
}

fn named(name: &str, cause: impl std::fmt::Display) -> Error {
    Error::other(format!("{name}: {cause}"))
}

fn hash(graph: &GraphKeys) -> String {
    let lines = graph.iter().flat_map(|(key, value)| [key.as_str(), "=", value.as_str(), "\n"]);
    let hash = lines
        .flat_map(str::bytes)
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
