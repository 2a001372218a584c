//! The folder that masks are written to, `DIR/SEQUENCE/FRAME.png`, with `DIR/settings.json`: what decided them. All masks of a folder are of
//! its settings, whatever was interrupted when.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::davis::{Sequence, mask_name};
use crate::checkpoint::atomic;
use crate::error::Error;

/// What becomes of masks that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// They are refused.
    New,
    /// They stay where they are of the same settings, and are refused otherwise.
    Resume,
    /// They are taken away.
    Overwrite,
}

const SETTINGS: &str = "settings.json";

/// A folder that is ready for masks.
pub struct MaskFolder {
    root: PathBuf,
}

impl MaskFolder {
    /// Makes a folder ready for the masks of some sequences under some settings.
    ///
    /// # Errors
    /// [`Error::Request`] when it holds masks that `begin` refuses, [`Error::File`] when it can't be read or written.
    pub fn begin(root: &Path, settings: &Value, all: &[Sequence], begin: Begin) -> Result<Self, Error> {
        make(root)?;
        let (folder, path) = (MaskFolder { root: root.to_owned() }, root.join(SETTINGS));
        let (found, text) = (read(&path)?, format!("{settings:#}\n"));
        let masks = folder.masks(found.is_some(), all)?;
        match begin {
            // old masks go before new settings come, so that at no moment they stand under settings that are not theirs
            Begin::Overwrite => masks.iter().try_for_each(|path| remove(path))?,
            Begin::New if found.is_some() || !masks.is_empty() => {
                let text = format!("{} holds masks already", root.display());
                return Err(Error::Request(format!("{text}; go on with --resume, or --overwrite them")));
            }
            Begin::Resume if found.is_none() && !masks.is_empty() => {
                let text = format!("{}: nothing says what its masks are of", root.display());
                return Err(Error::Request(format!("{text}; choose another --out, or --overwrite them")));
            }
            Begin::Resume if found.as_ref().is_some_and(|found| *found != text) => {
                let text = format!("{} tells of other settings", path.display());
                return Err(Error::Request(format!("{text}; choose another --out, or --overwrite")));
            }
            Begin::New | Begin::Resume => {}
        }
        let written = atomic::write(&path, |file| file.write_all(text.as_bytes()));
        written.map_err(|cause| Error::File { doing: "write", path, cause })?;
        all.iter().try_for_each(|sequence| make(&folder.of(sequence)))?;
        Ok(folder)
    }

    /// Where a sequence's masks are.
    pub fn of(&self, sequence: &Sequence) -> PathBuf {
        self.root.join(&sequence.name)
    }

    /// Where a frame's mask is.
    pub fn mask(&self, sequence: &Sequence, frame: &Path) -> PathBuf {
        self.of(sequence).join(mask_name(frame))
    }

    /// Whether each of a sequence's frames has its mask.
    pub fn whole(&self, sequence: &Sequence) -> bool {
        sequence.frames.iter().all(|frame| self.mask(sequence, frame).is_file())
    }

    /// The masks that are there: where there are settings, all that they may be of; otherwise of these sequences alone.
    fn masks(&self, settings: bool, all: &[Sequence]) -> Result<Vec<PathBuf>, Error> {
        let folders = match settings {
            true => inside(&self.root)?,
            false => all.iter().map(|sequence| self.of(sequence)).collect(),
        };
        let mut masks = Vec::new();
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            let png = |path: &PathBuf| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("png"));
            masks.extend(inside(folder)?.into_iter().filter(png));
        }
        Ok(masks)
    }
}

fn inside(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let wrong = |cause| Error::File { doing: "read", path: folder.to_owned(), cause };
    std::fs::read_dir(folder).map_err(wrong)?.map(|entry| Ok(entry.map_err(wrong)?.path())).collect()
}

/// A file's text; none where there is no such file.
fn read(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::File { doing: "read", path: path.to_owned(), cause }),
    }
}

fn make(folder: &Path) -> Result<(), Error> {
    let wrong = |cause| Error::File { doing: "write", path: folder.to_owned(), cause };
    std::fs::create_dir_all(folder).map_err(wrong)
}

fn remove(path: &Path) -> Result<(), Error> {
    std::fs::remove_file(path).map_err(|cause| Error::File { doing: "remove", path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sequence(name: &str) -> Sequence {
        let frames = ["00000.jpg", "00001.v2.jpg"].map(PathBuf::from).into();
        Sequence { name: name.into(), frames, first_mask: "00000.png".into() }
    }

    /// Begins a folder of `names`, and puts a mask for each frame of those that have none.
    fn fill(root: &Path, settings: u32, names: &[&str], begin: Begin) -> Result<(), Error> {
        let all: Vec<Sequence> = names.iter().map(|name| sequence(name)).collect();
        let folder = MaskFolder::begin(root, &json!(settings), &all, begin)?;
        for one in all.iter().filter(|one| !folder.whole(one)) {
            one.frames
                .iter()
                .for_each(|f| std::fs::write(folder.mask(one, f), settings.to_string()).unwrap());
            assert!(folder.whole(one));
        }
        Ok(())
    }

    /// What each mask of a folder is of.
    fn of(root: &Path) -> Vec<String> {
        let folder = MaskFolder { root: root.to_owned() };
        let masks = folder.masks(true, &[]).unwrap();
        masks.into_iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn masks_of_two_settings_never_meet() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fill(root, 1, &["a", "b"], Begin::New).unwrap();
        for (settings, begin, part) in
            [(1, Begin::New, "holds masks already"), (2, Begin::Resume, "other settings")]
        {
            let error = fill(root, settings, &["a"], begin).unwrap_err();
            assert!(error.exit_status() == 2 && error.to_string().contains(part), "{error}");
        }
        // overwritten for one sequence, then gone on with for both: none of the old ones is taken for new
        fill(root, 2, &["a"], Begin::Overwrite).unwrap();
        fill(root, 2, &["a", "b"], Begin::Resume).unwrap();
        assert_eq!(of(root), ["2"; 4]);
    }

    #[test]
    fn masks_that_nothing_is_said_of_are_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fill(root, 1, &["a"], Begin::New).unwrap();
        remove(&root.join(SETTINGS)).unwrap();
        for begin in [Begin::New, Begin::Resume] {
            assert_eq!(fill(root, 1, &["a"], begin).unwrap_err().exit_status(), 2);
        }
        fill(root, 2, &["a"], Begin::Overwrite).unwrap();
        assert_eq!(of(root), ["2"; 2]);
    }
}
