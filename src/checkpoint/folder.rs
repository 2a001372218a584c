//! The folder of one run: who may use it, and what lies where.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::atomic::{TEMPORARY, parent};
use super::leavings;

/// What to do with a folder that a run has used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// Refuse it.
    #[default]
    Refuse,
    /// Go on from its newest checkpoint, or from the beginning where there is none.
    Resume,
    /// Remove what the earlier run wrote, and nothing else.
    Overwrite,
}

/// Why a run folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(
        "{0} holds an earlier run; --resume goes on with it, --overwrite replaces it, --out names another folder"
    )]
    Used(PathBuf),
    #[error(
        "{0} is in use by another run, which holds the file `lock` in it; wait for it, or name another folder with --out"
    )]
    Locked(PathBuf),
    #[error("{folder} holds {found}, and no run of dinoflow wrote into it: name another folder with --out")]
    Foreign { folder: PathBuf, found: String },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the graph is not the one that {folder} was trained with, so it can't go on there:\n  {}\n\
        resume with the same graph, or name another folder with --out", .differences.join("\n  "))]
    OtherGraph { folder: PathBuf, differences: Vec<String> },
    #[error("no checkpoint in {folder} is whole:\n  {}\n--overwrite starts anew", .reasons.join("\n  "))]
    Damaged { folder: PathBuf, reasons: Vec<String> },
}

impl FolderError {
    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> FolderError {
        let path = path.to_owned();
        |source| FolderError::File { path, source }
    }

    /// 2 where another request would do, 1 where a file failed.
    pub fn status(&self) -> u8 {
        if matches!(self, FolderError::File { .. }) { 1 } else { 2 }
    }
}

/// A run folder, locked for as long as this value lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

/// What a run writes, besides `lock`, and what lies in folders of its own: checkpoints, event files, pictures.
const OURS: [&str; 6] =
    ["metrics.jsonl", "rejected.jsonl", "graph.ron", "log.txt", "timings.json", "report.html"];

impl RunFolder {
    /// Opens or makes the folder and locks it.
    ///
    /// # Errors
    /// When another process uses it, when it was used and `reuse` refuses that, when it holds files and none of them is a run's,
    /// or when it can't be written.
    pub fn open(path: &Path, reuse: Reuse) -> Result<Self, FolderError> {
        std::fs::create_dir_all(path).map_err(FolderError::file(path))?;
        let name = path.join("lock");
        if let Some(found) = foreign(path, &name)? {
            return Err(FolderError::Foreign { folder: path.to_owned(), found });
        }
        let options = File::options().create(true).truncate(false).write(true).open(&name);
        let lock = options.map_err(FolderError::file(&name))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(FolderError::File { path: name, source }),
        }
        let folder = RunFolder { path: path.to_owned(), _lock: lock };
        match reuse {
            Reuse::Refuse if folder.used()? => return Err(FolderError::Used(path.to_owned())),
            Reuse::Overwrite => folder.clear()?,
            _ => {}
        }
        let checkpoints = folder.checkpoints();
        std::fs::create_dir_all(&checkpoints).map_err(FolderError::file(&checkpoints))?;
        folder.remove_unfinished()?;
        Ok(folder)
    }

    /// Removes what an earlier run wrote: its checkpoints first, without which the rest is no run to go on with.
    fn clear(&self) -> Result<(), FolderError> {
        discard(&self.latest())?;
        self.steps()?.iter().try_for_each(|(_, path)| discard(path))?;
        OURS.iter().try_for_each(|name| discard(&self.path.join(name)))?;
        leavings::clear(&self.tensorboard(), leavings::is_events)?;
        leavings::clear(&self.pictures(), leavings::is_picture)
    }

    /// Removes the pictures that were drawn at barriers after a checkpoint's: those of its own step stay when they were `evaluated`.
    ///
    /// # Errors
    /// When one can't be removed.
    pub fn forget_pictures(&self, step: u64, evaluated: bool) -> Result<(), FolderError> {
        let later = |at: u64| at > step || (at == step && !evaluated);
        leavings::remove_those(&self.pictures(), |name| leavings::step_of(name).is_some_and(later))
    }

    /// Whether anything would be lost. A run that failed before its first line left nothing of worth.
    fn used(&self) -> Result<bool, FolderError> {
        let empty = std::fs::metadata(self.metrics()).is_ok_and(|log| log.len() == 0);
        let none = self.steps()?.is_empty();
        Ok(!none || (!empty && OURS.iter().any(|name| self.path.join(name).exists())))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn graph(&self) -> PathBuf {
        self.path.join("graph.ron")
    }

    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    pub fn rejected(&self) -> PathBuf {
        self.path.join("rejected.jsonl")
    }

    /// The log that the published script writes.
    pub fn log_txt(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    pub fn timings(&self) -> PathBuf {
        self.path.join("timings.json")
    }

    /// The folder of event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    pub fn pictures(&self) -> PathBuf {
        self.path.join("pictures")
    }

    /// A picture by its name.
    pub fn picture(&self, name: &str) -> PathBuf {
        self.pictures().join(format!("{name}.png"))
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The small file that names the checkpoint to resume from.
    pub fn latest(&self) -> PathBuf {
        self.checkpoints().join("latest")
    }

    /// The checkpoints' folders by step, whole or not.
    pub fn steps(&self) -> Result<Vec<(u64, PathBuf)>, FolderError> {
        steps(&self.checkpoints())
    }

    /// Removes what a killed run left half-written.
    fn remove_unfinished(&self) -> Result<(), FolderError> {
        for folder in [self.path.clone(), self.checkpoints(), self.pictures()] {
            for (name, path) in entries(&folder)? {
                if name.starts_with(TEMPORARY) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }
}

/// What lies in a folder, by name; nothing where there is no folder.
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, FolderError> {
    let read = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(FolderError::file(folder))?,
    };
    let mut entries = Vec::new();
    for entry in read {
        let entry = entry.map_err(FolderError::file(folder))?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    entries.sort();
    Ok(entries)
}

/// The checkpoints' folders within `checkpoints`, by step.
fn steps(folder: &Path) -> Result<Vec<(u64, PathBuf)>, FolderError> {
    let step = |(name, path): (String, PathBuf)| Some((name.strip_prefix("step-")?.parse().ok()?, path));
    let mut steps: Vec<_> = entries(folder)?.into_iter().filter_map(step).collect();
    steps.sort();
    Ok(steps)
}

/// The name of something in a folder that no run ever used: every run leaves its lock there, and a copy of one without it has
/// checkpoints. Hidden files, which systems leave anywhere, don't count.
fn foreign(path: &Path, lock: &Path) -> Result<Option<String>, FolderError> {
    if lock.exists() || !steps(&path.join("checkpoints"))?.is_empty() {
        return Ok(None);
    }
    let found = entries(path)?.into_iter().map(|(name, _)| name).find(|name| !name.starts_with('.'));
    Ok(found.map(|name| format!("`{name}`")))
}

/// The name of a checkpoint's folder.
pub fn step_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// Takes a file or folder away in one instant, if it is there, then removes it at leisure.
pub fn discard(path: &Path) -> Result<(), FolderError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = parent(path).join(format!("{TEMPORARY}{name}"));
    remove(&aside)?;
    match std::fs::rename(path, &aside) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FolderError::file(path)(error)),
        Ok(()) => remove(&aside),
    }
}

/// Removes a file or folder, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), FolderError> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FolderError::file(path)(error)),
        _ => Ok(()),
    }
}
