//! The archive of PyTorch 1.6 and later: a zip whose members are stored as they are, `data.pkl` and one member a storage.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::storage::Kept;
use crate::weights::error::Cause;
use crate::weights::pickle::{self, PickleError, Value};

/// An open archive.
pub struct Archive {
    zip: ZipArchive<BufReader<File>>,
    pub length: u64,
    /// The folder within it that everything lies in, with its slash.
    folder: String,
    kept: Kept,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Opens an archive and reads its pickle.
pub fn open(path: &Path) -> Result<(Value, Archive), Cause> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let zip = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    let names: Vec<String> =
        zip.file_names().map(|name| Ok(name.map_err(damaged)?.into_owned())).collect::<Result<_, Cause>>()?;
    let folder = folder(&names)?;
    let mut archive = Archive { zip, length, folder, kept: Kept::default() };
    archive.judge()?;
    archive.judge_byte_order()?;
    let name = format!("{}data.pkl", archive.folder);
    let root = pickle::read(&archive.member(&name, pickle::LONGEST as u64)?)?;
    Ok((root, archive))
}

/// The folder that `data.pkl` lies in.
fn folder(names: &[String]) -> Result<String, Cause> {
    let pickles: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix("data.pkl")).collect();
    let folder = match pickles[..] {
        [folder] if folder.is_empty() || folder.ends_with('/') => folder.to_owned(),
        _ => {
            let what =
                "a zip archive without one data.pkl: torch.save wrote something else, or another program did";
            return Err(Cause::Archive(what.into()));
        }
    };
    if names.iter().any(|name| name.starts_with(&format!("{folder}code/"))) {
        let what = "a TorchScript program; load it in Python and torch.save(module.state_dict(), …)";
        return Err(Cause::Archive(what.into()));
    }
    Ok(folder)
}

impl Archive {
    /// Holds every member against the file: stored as it is, no longer than the file, none on top of another.
    fn judge(&mut self) -> Result<(), Cause> {
        let mut together = 0u64;
        for index in 0..self.zip.len() {
            let member = self.zip.by_index_raw(index).map_err(damaged)?;
            let name = member.name().map_err(damaged)?;
            if member.compression() != CompressionMethod::Stored || member.encrypted() {
                return Err(Cause::Archive(format!(
                    "{name} in it is compressed or encrypted; torch.save never does that, so unpack it and torch.save it anew"
                )));
            }
            together = together.saturating_add(member.size());
            if member.size() != member.compressed_size() || together > self.length {
                let what = format!(
                    "{name} in it is said to have {} bytes, more than the archive has",
                    member.size()
                );
                return Err(Cause::Archive(what));
            }
        }
        if self.zip.has_duplicate_names() {
            return Err(Cause::Archive("two members of the archive have one name: it is damaged".into()));
        }
        match self.zip.has_overlapping_entries().map_err(damaged)? {
            true => {
                Err(Cause::Archive("members of the archive lie on top of each other: it is damaged".into()))
            }
            false => Ok(()),
        }
    }

    fn judge_byte_order(&mut self) -> Result<(), Cause> {
        let name = format!("{}byteorder", self.folder);
        if self.zip.index_for_name(&name).is_none() {
            return Ok(());
        }
        match &*self.member(&name, 16)? {
            b"little" => Ok(()),
            _ => Err(Cause::Archive(
                "its numbers have their highest byte first; save it on a little-endian machine".into(),
            )),
        }
    }

    /// A member's bytes.
    fn member(&mut self, name: &str, longest: u64) -> Result<Vec<u8>, Cause> {
        read(&mut self.zip, name, longest)?.ok_or_else(|| Cause::Archive(format!("it holds no {name}")))
    }

    /// The bytes of the storage of the tensor `key`.
    pub fn storage(&mut self, key: &str, storage: &str) -> Result<&[u8], Cause> {
        let Archive { zip, length, folder, kept } = self;
        kept.get(storage, || {
            let name = format!("{folder}data/{storage}");
            let found = read(zip, &name, *length)?;
            found.ok_or_else(|| {
                Cause::tensor(
                    key,
                    format!("its numbers are to be in {name}, and the archive has no such member"),
                )
            })
        })
    }
}

/// A member's bytes; none where it has no member of that name. [`Archive::judge`] has held its length against the file.
fn read(zip: &mut ZipArchive<BufReader<File>>, name: &str, longest: u64) -> Result<Option<Vec<u8>>, Cause> {
    let Some(index) = zip.index_for_name(name) else { return Ok(None) };
    let mut member = zip.by_index(index).map_err(damaged)?;
    if member.size() > longest {
        return Err(PickleError::Long { found: member.size() }.into());
    }
    let mut bytes = Vec::with_capacity(member.size() as usize);
    member.read_to_end(&mut bytes).map_err(|e| Cause::Archive(format!("{name} in it can't be read: {e}")))?;
    Ok(Some(bytes))
}

fn damaged(error: zip::result::ZipError) -> Cause {
    match error {
        zip::result::ZipError::Io(error) => Cause::System(error),
        other => {
            Cause::Archive(format!("it is no whole zip archive ({other}): the file is cut short or damaged"))
        }
    }
}
