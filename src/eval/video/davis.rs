//! DAVIS's folders: `JPEGImages/480p/SEQUENCE/*.jpg`, `Annotations/480p/SEQUENCE/*.png`, `ImageSets/2017/val.txt`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// One video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub name: String,
    /// In order.
    pub frames: Vec<PathBuf>,
    /// The first frame's mask, from which all others follow.
    pub first_mask: PathBuf,
}

/// Where true masks are, a folder for each sequence.
pub const ANNOTATIONS: &str = "Annotations/480p";

/// What the mask of a frame is called: the frame's name with `.png` in place of its ending.
pub fn mask_name(frame: &Path) -> OsString {
    let mut name = frame.file_stem().unwrap_or_default().to_owned();
    name.push(".png");
    name
}

/// The sequences of a list of names in DAVIS's folder, or of `ImageSets/2017/val.txt`.
///
/// # Errors
/// When the list can't be read, or a sequence has no frame or no first mask.
pub fn sequences(root: &Path, names: &[String]) -> Result<Vec<Sequence>, Error> {
    let names = match names {
        [] => listed(&root.join("ImageSets/2017/val.txt"))?,
        names => names.to_vec(),
    };
    let one = |name: &String| {
        let frames = files(&root.join("JPEGImages/480p").join(name), "jpg")?;
        let first_mask = root.join(ANNOTATIONS).join(name).join(mask_name(&frames[0])); // `files` gives at least one
        match first_mask.is_file() {
            true => Ok(Sequence { name: name.clone(), frames, first_mask }),
            false => Err(Error::Request(format!(
                "{}: no such file; expected the mask of the first frame",
                first_mask.display()
            ))),
        }
    };
    names.iter().map(one).collect()
}

/// Names in a file, one a line.
fn listed(path: &Path) -> Result<Vec<String>, Error> {
    let text = std::fs::read_to_string(path).map_err(|cause| Error::File {
        doing: "read",
        path: path.to_owned(),
        cause,
    })?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    match names.is_empty() {
        true => Err(Error::Request(format!("{} names no sequence", path.display()))),
        false => Ok(names),
    }
}

/// The files of a folder with this ending, by name; at least one.
///
/// # Errors
/// When the folder can't be read, or holds none.
pub fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, Error> {
    let read = |cause| Error::File { doing: "read", path: folder.to_owned(), cause };
    let entries = std::fs::read_dir(folder).map_err(read)?;
    let paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>().map_err(read)?;
    let fits = |path: &PathBuf| path.extension().is_some_and(|end| end.eq_ignore_ascii_case(ending));
    let mut files: Vec<PathBuf> = paths.into_iter().filter(fits).collect();
    files.sort();
    match files.is_empty() {
        true => Err(Error::Request(format!("{}: no file ends in .{ending}", folder.display()))),
        false => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ending_of_a_frame_is_its_masks() {
        for (frame, mask) in [("a/00000.jpg", "00000.png"), ("a/clip.v2.7.JPG", "clip.v2.7.png")] {
            assert_eq!(mask_name(Path::new(frame)), mask);
        }
    }

    #[test]
    fn sequences_are_what_the_list_names() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("ImageSets/2017/val.txt", "bear\n\n");
        let refused = |part: &str| {
            let error = sequences(root.path(), &[]).unwrap_err();
            assert!(error.exit_status() == 2 && error.to_string().contains(part), "{error}");
        };
        refused("bear");
        put("JPEGImages/480p/bear/00001.jpg", "");
        put("JPEGImages/480p/bear/00000.jpg", "");
        refused("the mask of the first frame");
        put("Annotations/480p/bear/00000.png", "");
        let found = sequences(root.path(), &[]).unwrap();
        assert_eq!((found.len(), found[0].frames.len(), &*found[0].name), (1, 2, "bear"));
        assert!(found[0].frames[0].ends_with("00000.jpg"));
        assert!(sequences(root.path(), &["fox".into()]).is_err());
    }
}
