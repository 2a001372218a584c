//! Files and folders of weights, whole or not at all.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use super::Named;
use super::settings::Settings;
use crate::checkpoint::{atomic, serialize};
use crate::runtime::stage::State;
use crate::weights::error::{Cause, WeightsError};
use crate::weights::torch::write::{Item, write};

/// A safetensors file of a state.
///
/// # Errors
/// When it can't be written.
pub fn safetensors(path: &Path, state: &State) -> std::result::Result<(), WeightsError> {
    let put = || atomic::write(path, |file| file.write_all(&serialize(state)?));
    put().map_err(|e| Cause::Unwritten(e).of(path))
}

/// One file: an archive of `torch.save` where the name ends as those do, else safetensors.
pub fn file(path: &Path, named: &Named) -> std::result::Result<(), WeightsError> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension {
        "safetensors" => safetensors(path, named),
        "pth" | "pt" | "bin" => {
            let entries = named.iter().map(|(key, tensor)| (key.clone(), Item::Tensor(tensor)));
            torch(path, &Item::Dict(entries.collect()))
        }
        _ => {
            let what =
                "what is to be written is not clear: let it end in .safetensors or, for torch.load, .pth";
            Err(Cause::Request(what.into()).of(path))
        }
    }
}

/// An archive of `torch.save`.
pub fn torch(path: &Path, item: &Item<'_>) -> std::result::Result<(), WeightsError> {
    atomic::write_seekable(path, |file| write(file, item)).map_err(|e| Cause::Unwritten(e).of(path))
}

/// A folder of settings and `model.safetensors`; the files in it.
pub fn folder(
    path: &Path,
    settings: &Settings,
    named: &Named,
) -> std::result::Result<Vec<PathBuf>, WeightsError> {
    let put = || -> Result<()> {
        if path.exists() && std::fs::read_dir(path)?.next().is_some() {
            return Err(Error::new(ErrorKind::AlreadyExists, "the folder is not empty; name another one"));
        }
        let parent = atomic::parent(path);
        let temporary = atomic::unfinished(0o777).tempdir_in(parent)?;
        std::fs::write(temporary.path().join("model.safetensors"), serialize(named)?)?;
        for (name, value) in settings {
            std::fs::write(temporary.path().join(name), format!("{value:#}\n"))?;
        }
        atomic::sync_folder(temporary.path())?;
        std::fs::rename(temporary.path(), path)?;
        // it has moved, and there is nothing to remove any more
        let _ = temporary.keep();
        atomic::sync_folder(parent)
    };
    put().map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => Cause::Request(e.to_string()).of(path),
        _ => Cause::Unwritten(e).of(path),
    })?;
    let names = settings.iter().map(|(name, _)| *name).chain(["model.safetensors"]);
    Ok(names.map(|name| path.join(name)).collect())
}
