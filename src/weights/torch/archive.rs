//! The archive of PyTorch 1.6 and later: a zip whose members are stored as they are, `data.pkl` and one member a storage.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::weights::error::Cause;
use crate::weights::pickle::{self, Value};
use crate::weights::words::shown;

/// An open archive.
pub struct Archive {
    zip: ZipArchive<BufReader<File>>,
    pub length: u64,
    /// The folder within it that everything lies in, with its slash.
    folder: String,
    /// Storages whose checksums were held against their bytes.
    checked: HashSet<usize>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The largest storage, in bytes, that is read in whole to hold it against its checksum where a tensor needs a part of it.
const CHECKED: u64 = 1 << 32;

/// Opens an archive and reads its pickle.
pub fn open(path: &Path) -> Result<(Value, Archive), Cause> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let zip = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    let names: Vec<String> =
        zip.file_names().map(|name| Ok(name.map_err(damaged)?.into_owned())).collect::<Result<_, Cause>>()?;
    let folder = folder(&names)?;
    let mut archive = Archive { zip, length, folder, checked: HashSet::new() };
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
        let (mut together, mut names) = (0u64, HashSet::new());
        for index in 0..self.zip.len() {
            let member = self.zip.by_index_raw(index).map_err(damaged)?;
            let name = member.name().map_err(damaged)?;
            // PyTorch finds members by their names in either case, and takes the first
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(Cause::Archive(twice(&format!(" ({})", shown(&name)))));
            }
            let name = shown(&name);
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
            return Err(Cause::Archive(twice("")));
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
            b"big" => Err(Cause::Archive(
                "its numbers have their highest byte first; save it on a little-endian machine".into(),
            )),
            other => {
                let found = shown(&String::from_utf8_lossy(other));
                let what = format!("its byte order is said to be {found:?}; expected little: it is damaged");
                Err(Cause::Archive(what))
            }
        }
    }

    /// A member's bytes.
    fn member(&mut self, name: &str, longest: u64) -> Result<Vec<u8>, Cause> {
        read(&mut self.zip, name, longest)?
            .ok_or_else(|| Cause::Archive(format!("it holds no {}", shown(name))))
    }

    fn index(&self, storage: &str) -> Option<usize> {
        self.zip.index_for_name(&format!("{}data/{storage}", self.folder))
    }

    /// How many bytes a storage has; none where it is not there.
    pub fn size(&mut self, storage: &str) -> Option<u64> {
        let index = self.index(storage)?;
        self.zip.by_index_raw(index).ok().map(|member| member.size())
    }

    /// So many bytes of a storage, which has them ([`Archive::size`]).
    pub fn storage(&mut self, storage: &str, from: u64, bytes: usize) -> Result<Vec<u8>, Cause> {
        let index = self.index(storage).ok_or_else(|| Cause::Archive("a storage is gone".into()))?;
        let mut all = vec![0; bytes];
        let mut member = self.zip.by_index(index).map_err(damaged)?;
        let name = shown(storage);
        let unread = |e| unread(&format!("storage {name}"), &e);
        // to its end, where its checksum is held against it
        if from == 0 && bytes as u64 == member.size() {
            member.read_exact(&mut all).map_err(unread)?;
            std::io::copy(&mut member, &mut std::io::sink()).map_err(unread)?;
            return Ok(all);
        }
        if member.size() <= CHECKED && self.checked.insert(index) {
            std::io::copy(&mut member, &mut std::io::sink()).map_err(unread)?;
        }
        drop(member);
        let mut member = self.zip.by_index_seek(index).map_err(damaged)?;
        member.seek(SeekFrom::Start(from))?;
        member.read_exact(&mut all).map_err(unread)?;
        Ok(all)
    }
}

fn twice(name: &str) -> String {
    format!(
        "two members of the archive have one name{name}, and programs differ in which they take: it is damaged"
    )
}

/// What is said of a member whose bytes can't be had.
fn unread(name: &str, error: &std::io::Error) -> Cause {
    Cause::Archive(format!(
        "{name} in it can't be read: {error}; it is damaged, or was saved under torch.serialization.set_crc32_options(False): save it anew without that"
    ))
}

/// A member's bytes; none where it has no member of that name. [`Archive::judge`] has held its length against the file.
fn read(zip: &mut ZipArchive<BufReader<File>>, name: &str, longest: u64) -> Result<Option<Vec<u8>>, Cause> {
    let Some(index) = zip.index_for_name(name) else { return Ok(None) };
    let mut member = zip.by_index(index).map_err(damaged)?;
    if member.size() > longest {
        let (name, found) = (shown(name), member.size());
        return Err(Cause::Archive(format!("{name} in it has {found} bytes; up to {longest} are read")));
    }
    let mut bytes = Vec::with_capacity(member.size() as usize);
    member.read_to_end(&mut bytes).map_err(|e| unread(&shown(name), &e))?;
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
