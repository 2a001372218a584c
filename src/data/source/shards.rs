//! Tar files of images, as WebDataset and `tar` write them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Images, Raw, SourceError, classes, is_image};

/// Which shards to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShardsParams {
    /// Tar files, uncompressed, and folders of files ending in .tar (those in byte order).
    pub files: Vec<PathBuf>,
}

/// Images inside tar files, read in place: `key.jpg` (or .jpeg, .png, .webp) with its class in `key.cls`, or else in
/// the name of the folder that it lies in.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<(PathBuf, File)>,
    entries: Vec<Entry>,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
}

/// Where an image's bytes lie.
#[derive(Debug)]
struct Entry {
    shard: u32,
    offset: u64,
    size: u64,
    name: Box<Path>,
}

/// Largest image file that is read: beyond it, a header is more likely broken than an image that large.
const LARGEST: u64 = 1 << 30;

impl Shards {
    /// Reads all headers of all shards, once; image bytes are read later, each at its place.
    ///
    /// # Errors
    /// When a shard is absent, not a tar file, or cut short, or when there is no image in any.
    pub fn open(params: &ShardsParams) -> Result<Self, SourceError> {
        if params.files.is_empty() {
            return Err(SourceError::Unset("files, the tar files or folders of them"));
        }
        let (mut shards, mut entries, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for path in tar_files(&params.files)? {
            let file = File::open(&path).map_err(|e| SourceError::io(&path, e))?;
            let (found, classes) = index(&path, &file, shards.len() as u32)?;
            entries.extend(found);
            written.extend(classes);
            shards.push((path, file));
        }
        if entries.is_empty() {
            let names: Vec<_> = params.files.iter().map(|f| f.display().to_string()).collect();
            let looked_for = "tar entries ending in .jpg, .jpeg, .png or .webp, in any case";
            return Err(SourceError::Empty { place: names.join(", "), looked_for });
        }
        let (labels, classes) = classes::number(&written);
        Ok(Shards { shards, entries, labels, classes })
    }
}

/// The tar files meant: folders are replaced by what lies in them.
fn tar_files(given: &[PathBuf]) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|e| SourceError::io(path, e))? {
            let file = entry.map_err(|e| SourceError::io(path, e))?.path();
            if file.is_file() && file.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar")) {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            let place = path.display().to_string();
            return Err(SourceError::Empty { place, looked_for: "files ending in .tar" });
        }
        inside
            .sort_unstable_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
        files.extend(inside);
    }
    Ok(files)
}

/// The images of one shard and their classes as written.
fn index(path: &Path, file: &File, shard: u32) -> Result<(Vec<Entry>, Vec<Option<String>>), SourceError> {
    let broken = |cause: io::Error| SourceError::io(path, cause);
    let length = file.metadata().map_err(broken)?.len();
    let (mut entries, mut classes) = (Vec::new(), HashMap::new());
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let fault = |reason: String| SourceError::Entry {
            file: path.to_owned(),
            entry: name.display().to_string(),
            reason,
        };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(fault(format!(
                "reaches over the file's end at byte {length}; the shard is cut short"
            )));
        }
        if name.extension().is_some_and(|e| e == "cls") {
            let mut text = String::new();
            let read = entry.by_ref().take(256).read_to_string(&mut text);
            read.map_err(|e| fault(format!("not a class: {e}")))?;
            classes.insert(name.with_extension(""), text.trim().to_owned());
        } else if is_image(&name) {
            if size > LARGEST {
                return Err(fault(format!("{size} bytes are more than an image file may have ({LARGEST})")));
            }
            entries.push(Entry { shard, offset, size, name: name.into() });
        }
    }
    let written = entries.iter().map(|entry| class_of(&entry.name, &classes)).collect();
    Ok((entries, written))
}

/// The class in `key.cls`; where the shard has no such files, the folder's name.
fn class_of(name: &Path, classes: &HashMap<PathBuf, String>) -> Option<String> {
    if !classes.is_empty() {
        return classes.get(&name.with_extension("")).cloned();
    }
    let folder = name.parent()?.file_name()?;
    Some(folder.to_string_lossy().into_owned())
}

/// Reads at a place without moving a cursor that other threads share.
#[cfg(unix)]
fn read_at(_path: &Path, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Reads at a place through a handle of its own.
#[cfg(not(unix))]
fn read_at(path: &Path, _file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}

impl Images for Shards {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn name(&self, index: usize) -> String {
        let Some(entry) = self.entries.get(index) else { return index.to_string() };
        format!("{}/{}", self.shards[entry.shard as usize].0.display(), entry.name.display())
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied().flatten()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn read(&self, index: usize) -> Result<Raw, SourceError> {
        let entry = self.entries.get(index).ok_or(SourceError::Index { index, len: self.entries.len() })?;
        let (path, file) = &self.shards[entry.shard as usize];
        let mut bytes = vec![0; entry.size as usize];
        match read_at(path, file, &mut bytes, entry.offset) {
            Ok(()) => Ok(Raw::Encoded(bytes)),
            Err(cause) => Err(SourceError::Entry {
                file: path.clone(),
                entry: entry.name.display().to_string(),
                reason: cause.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
