//! Writing a checkpoint, and finding the one to resume from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::atomic::{self, sync_folder, unfinished};
use super::files::{self, Saved};
use super::folder::{FolderError, RunFolder, discard, step_name};
use super::kinship::{GraphKeys, differences};
use super::manifest::Manifest;

/// A run's whole state between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Updates of the weights so far.
    pub step: u64,
    /// Whether what evaluates at the barrier has done so at this step.
    pub evaluated: bool,
    pub saved: Saved,
}

/// Where a run goes on.
#[derive(Debug)]
pub struct Resumed {
    pub snapshot: Snapshot,
    /// What was wrong with checkpoints that would have come first; worth a warning.
    pub passed_over: Vec<String>,
}

/// Writes a checkpoint whole, points `latest` at it, and removes all but the `keep` newest (0 keeps all).
///
/// # Errors
/// When the disk is full or not writable; what was there before then stays.
pub fn write(
    folder: &RunFolder,
    snapshot: &Snapshot,
    graph: &GraphKeys,
    keep: usize,
) -> Result<(), FolderError> {
    let parent = folder.checkpoints();
    let target = parent.join(step_name(snapshot.step));
    put(&parent, &target, snapshot, graph).map_err(FolderError::file(&target))?;
    let latest = folder.latest();
    atomic::write(&latest, |file| writeln!(file, "{}", step_name(snapshot.step)))
        .map_err(FolderError::file(&latest))?;
    let older: Vec<_> = folder.steps()?.into_iter().filter(|(step, _)| *step <= snapshot.step).collect();
    if keep > 0 {
        older.iter().rev().skip(keep).try_for_each(|(_, path)| discard(path))?;
    }
    Ok(())
}

/// Notes that what evaluates at the barrier has now done so at a checkpoint's step.
///
/// # Errors
/// When the checkpoint is damaged or can't be written.
pub fn mark_evaluated(folder: &RunFolder, step: u64) -> Result<(), FolderError> {
    let path = folder.checkpoints().join(step_name(step));
    let mark =
        Manifest::read(&path).and_then(|manifest| Manifest { evaluated: true, ..manifest }.write(&path));
    mark.map_err(FolderError::file(&path))
}

fn put(parent: &Path, target: &Path, snapshot: &Snapshot, graph: &GraphKeys) -> std::io::Result<()> {
    let temporary = unfinished(0o777).tempdir_in(parent)?;
    let mut seals = BTreeMap::new();
    for (stem, tensors) in &snapshot.saved.files {
        let name = format!("{stem}.safetensors");
        seals.insert(name.clone(), files::write(&temporary.path().join(&name), tensors)?);
    }
    Manifest::new(snapshot, graph.clone(), seals).write(temporary.path())?;
    sync_folder(temporary.path())?;
    if target.exists() {
        // a folder can't be renamed over a full one
        discard(target).map_err(std::io::Error::other)?;
    }
    std::fs::rename(temporary.keep(), target)?;
    sync_folder(parent)
}

/// The checkpoint that `latest` names, or the newest whole one when that is damaged; none where there is no checkpoint at all.
/// Checkpoints of later steps are removed: the run that goes on from here writes its own.
///
/// # Errors
/// When every checkpoint is damaged, or belongs to another graph.
pub fn resume(folder: &RunFolder, graph: &GraphKeys) -> Result<Option<Resumed>, FolderError> {
    let mut passed_over = Vec::new();
    let mut whole = None;
    for path in candidates(folder, &mut passed_over)? {
        let found = Manifest::read(&path).and_then(|manifest| Ok((load(&path, &manifest)?, manifest)));
        match found {
            Ok(found) if path.ends_with(step_name(found.1.step)) => {
                whole = Some(found);
                break;
            }
            Ok((_, manifest)) => {
                passed_over.push(format!("{}: it is of step {}", path.display(), manifest.step))
            }
            Err(error) => passed_over.push(format!("{}: {error}", path.display())),
        }
    }
    let Some((snapshot, manifest)) = whole else {
        let reasons = passed_over;
        let folder = folder.path().to_owned();
        return if reasons.is_empty() { Ok(None) } else { Err(FolderError::Damaged { folder, reasons }) };
    };
    let differences = differences(&manifest.graph, graph);
    if !differences.is_empty() {
        return Err(FolderError::OtherGraph { folder: folder.path().to_owned(), differences });
    }
    for (step, path) in folder.steps()? {
        if step > snapshot.step {
            discard(&path)?;
        }
    }
    Ok(Some(Resumed { snapshot, passed_over }))
}

/// The folders to try, best first.
fn candidates(folder: &RunFolder, passed_over: &mut Vec<String>) -> Result<Vec<PathBuf>, FolderError> {
    let newest_first = folder.steps()?.into_iter().rev().map(|(_, path)| path);
    let mut candidates: Vec<PathBuf> = newest_first.collect();
    if candidates.is_empty() {
        return Ok(candidates);
    }
    let latest = std::fs::read_to_string(folder.latest()).unwrap_or_default();
    match candidates.iter().position(|path| path.ends_with(latest.trim())) {
        Some(named) if !latest.trim().is_empty() => {
            let first = candidates.remove(named);
            candidates.insert(0, first);
        }
        _ => passed_over.push(format!("{}: it names no checkpoint", folder.latest().display())),
    }
    Ok(candidates)
}

fn load(path: &Path, manifest: &Manifest) -> std::io::Result<Snapshot> {
    let read = |name: &String| {
        let stem = name.trim_end_matches(".safetensors").to_owned();
        Ok((stem, files::read(&path.join(name))?))
    };
    let files = manifest.files.keys().map(read).collect::<std::io::Result<_>>()?;
    let saved = Saved { files, owners: manifest.owners.clone() };
    Ok(Snapshot { step: manifest.step, evaluated: manifest.evaluated, saved })
}
