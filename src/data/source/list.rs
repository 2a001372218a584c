//! A text file that lists images.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Images, Raw, SourceError, classes};

/// Where a [`List`] is and what its paths are relative to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListParams {
    /// The text file: one path a line, then, after a tab or the line's last comma, an optional class (a number or a
    /// name). Empty lines and those that begin with `#` are passed over.
    pub file: PathBuf,
    /// What relative paths start from; the list's own folder when it is not given.
    pub root: Option<PathBuf>,
}

/// Images named by a text file, in its order.
#[derive(Debug)]
pub struct List {
    file: PathBuf,
    root: PathBuf,
    /// (line, path as written)
    files: Vec<(u32, Box<Path>)>,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
}

impl List {
    /// Reads the list; the images themselves are not touched.
    ///
    /// # Errors
    /// When the list is absent, not UTF-8 or without images, or a line has no path.
    pub fn open(params: &ListParams) -> Result<Self, SourceError> {
        let file = params.file.clone();
        if file.as_os_str().is_empty() {
            return Err(SourceError::Unset("file, the list of images"));
        }
        let bytes = std::fs::read(&file).map_err(|e| SourceError::io(&file, e))?;
        let (files, written) = parse(&file, &bytes)?;
        if files.is_empty() {
            let looked_for = "one path a line, with an optional tab or comma and class";
            return Err(SourceError::Empty { place: file.display().to_string(), looked_for });
        }
        let (labels, classes) = classes::number(&written);
        let root = params.root.clone().or_else(|| file.parent().map(Path::to_owned)).unwrap_or_default();
        Ok(List { file, root, files, labels, classes })
    }
}

type Lines = (Vec<(u32, Box<Path>)>, Vec<Option<String>>);

/// The paths with their lines' numbers (from 1), and the classes as written.
fn parse(file: &Path, bytes: &[u8]) -> Result<Lines, SourceError> {
    let (mut files, mut written) = (Vec::new(), Vec::new());
    for (at, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let fault = |reason: &str| SourceError::Line {
            file: file.to_owned(),
            line: at + 1,
            reason: reason.to_owned(),
        };
        let line = std::str::from_utf8(line).map_err(|_| fault("not UTF-8 text; is this the list?"))?;
        let line = line.trim_start_matches('\u{feff}').trim_matches([' ', '\r']);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (path, class) = match line.rsplit_once('\t').or_else(|| line.rsplit_once(',')) {
            Some((path, class)) => (path.trim(), Some(class.trim()).filter(|c| !c.is_empty())),
            None => (line, None),
        };
        if path.is_empty() {
            return Err(fault("a class without a path; expected: path, tab or comma, class"));
        }
        if path.contains('\0') {
            return Err(fault("a zero byte in the path; is this the list?"));
        }
        files.push((at as u32 + 1, Path::new(path).into()));
        written.push(class.map(str::to_owned));
    }
    Ok((files, written))
}

impl Images for List {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn name(&self, index: usize) -> String {
        self.files.get(index).map_or_else(|| index.to_string(), |(_, f)| f.display().to_string())
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied().flatten()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn read(&self, index: usize) -> Result<Raw, SourceError> {
        let (line, path) =
            self.files.get(index).ok_or(SourceError::Index { index, len: self.files.len() })?;
        std::fs::read(self.root.join(path)).map(Raw::Encoded).map_err(|cause| SourceError::Line {
            file: self.file.clone(),
            line: *line as usize,
            reason: format!("{}: {cause}", self.root.join(path).display()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: impl AsRef<[u8]>) -> (tempfile::TempDir, Result<List, SourceError>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("train.txt");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("a.jpg"), "picture a").unwrap();
        let list = List::open(&ListParams { file, root: None });
        (folder, list)
    }

    #[test]
    fn paths_with_and_without_classes() {
        let (_folder, list) =
            open("\u{feff}a.jpg\tcat\r\n\n# note, with comma\nb, c.jpg,ant\n  x/y.png \nz.jpg,\n");
        let list = list.unwrap();
        let names: Vec<_> = (0..list.len()).map(|i| list.name(i)).collect();
        assert_eq!(names, ["a.jpg", "b, c.jpg", "x/y.png", "z.jpg"]);
        assert_eq!(list.classes(), ["ant", "cat"]);
        let labels: Vec<_> = (0..4).map(|i| list.label(i)).collect();
        assert_eq!(labels, [Some(1), Some(0), None, None]);
        assert_eq!(list.read(0).unwrap(), Raw::Encoded(b"picture a".to_vec()));
        let error = list.read(2).unwrap_err().to_string();
        assert!(error.contains("train.txt:5: ") && error.contains("y.png"), "{error}");
    }

    #[test]
    fn a_root_replaces_the_lists_folder() {
        let (folder, list) = open("a.jpg,4");
        assert_eq!(list.unwrap().label(0), Some(4));
        let file = folder.path().join("train.txt");
        let list = List::open(&ListParams { file, root: Some("elsewhere".into()) }).unwrap();
        assert!(list.read(0).unwrap_err().to_string().contains("elsewhere"));
    }

    #[test]
    fn broken_lists_name_file_and_line() {
        for (text, expected) in [
            (&b"a.jpg\n\tcat\n"[..], "train.txt:2: a class without a path"),
            (b"a.jpg\nb\xff.jpg\n", "train.txt:2: not UTF-8"),
            (b"a\0.jpg", "train.txt:1: a zero byte"),
            (b"# nothing\n\n", "no image in"),
        ] {
            let error = open(text).1.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let absent = ListParams { file: "nowhere.txt".into(), root: None };
        assert!(List::open(&absent).unwrap_err().to_string().contains("nowhere.txt"));
        assert!(List::open(&ListParams::default()).unwrap_err().to_string().contains("set file"));
    }
}
