//! What a run leaves in folders that others may put files into as well: event files and pictures. They are known by their names.

use std::path::Path;

use super::folder::{FolderError, entries, remove};

/// What the names of all event files begin with.
pub const EVENTS: &str = "events.out.tfevents.";
/// What those of this program go on with, after the time.
pub const OURS: &str = ".dinoflow.";

/// Removes the files of a folder whose names are of a kind.
///
/// # Errors
/// When the folder can't be read, or a file in it not removed; a folder that is not there holds none.
pub fn remove_those(folder: &Path, kind: impl Fn(&str) -> bool) -> Result<(), FolderError> {
    let those = entries(folder)?.into_iter().filter(|(name, path)| kind(name) && path.is_file());
    those.map(|(_, path)| path).try_for_each(|path| remove(&path))
}

/// Removes them, and the folder with them unless something else lies there.
///
/// # Errors
/// As with [`remove_those`].
pub fn clear(folder: &Path, kind: impl Fn(&str) -> bool) -> Result<(), FolderError> {
    remove_those(folder, kind)?;
    // a folder that is not empty stays, and so may one that is
    let _ = std::fs::remove_dir(folder);
    Ok(())
}

/// Whether a file of `tensorboard/` is a run's.
pub fn is_events(name: &str) -> bool {
    name.starts_with(EVENTS) && name.contains(OURS)
}

/// Whether a file of `pictures/` is a run's.
pub fn is_picture(name: &str) -> bool {
    name == "crops.png" || step_of(name).is_some()
}

/// The step of a picture: 24 of `attention-step-00000024.png`.
pub fn step_of(name: &str) -> Option<u64> {
    name.strip_suffix(".png")?.rsplit_once("-step-")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_own_are_known_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let check = |names: &[(&str, bool)], kind: fn(&str) -> bool| {
            let inner = folder.path().join("inner");
            std::fs::create_dir(&inner).unwrap();
            names.iter().for_each(|(name, _)| std::fs::write(inner.join(name), "").unwrap());
            clear(&inner, kind).unwrap();
            for (name, own) in names {
                assert_eq!(inner.join(name).exists(), !own, "{name}");
            }
            let others = names.iter().any(|(_, own)| !own);
            assert_eq!(inner.exists(), others);
            if others {
                std::fs::remove_dir_all(inner).unwrap();
            }
        };
        let pictures = [("crops.png", true), ("attention-student-step-00000024.png", true)];
        check(&pictures, is_picture);
        check(&[pictures[0], ("mine.png", false), ("a-step-x.png", false)], is_picture);
        check(
            &[("events.out.tfevents.7.dinoflow.0000", true), ("events.out.tfevents.7.host", false)],
            is_events,
        );
        clear(&folder.path().join("absent"), is_events).unwrap();
    }
}
