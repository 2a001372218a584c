//! A folder of image files, at any depth.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::{Images, LOOKED_FOR, Raw, SourceError, classes, is_image};

/// Where a [`Folder`]'s images lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FolderParams {
    /// The folder. Images may lie at any depth; the first folder below the root is an image's class, where there is
    /// one.
    pub root: PathBuf,
    /// Take at most this many images, spread evenly over the classes and over each class's files.
    pub limit: Option<usize>,
}

/// JPEG, PNG and WebP files below a root, in byte order of their paths. Hidden files are left out; links are followed.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Relative to the root.
    files: Vec<Box<Path>>,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
}

impl Folder {
    /// Lists the folder; nothing is read yet.
    ///
    /// # Errors
    /// When the folder is absent, unreadable or without images.
    pub fn open(params: &FolderParams) -> Result<Self, SourceError> {
        let root = params.root.clone();
        if root.as_os_str().is_empty() {
            return Err(SourceError::Unset("root, the folder of images"));
        }
        let mut files = files_below(&root)?;
        files.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)));
        let classes: Vec<_> = files.iter().map(|file| class_of(file)).collect();
        let (mut labels, classes) = classes::by_name(&classes);
        if let Some(limit) = params.limit {
            let kept = spread(&labels, classes.len(), limit);
            labels = kept.iter().map(|&i| labels[i]).collect();
            files = kept.iter().map(|&i| files[i].clone()).collect();
        }
        if files.is_empty() {
            let place = match params.limit {
                Some(limit) => format!("{} (limit: {limit})", root.display()),
                None => root.display().to_string(),
            };
            return Err(SourceError::Empty { place, looked_for: LOOKED_FOR });
        }
        Ok(Folder { root, files, labels, classes })
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// Image files below a root, relative to it.
fn files_below(root: &Path) -> Result<Vec<Box<Path>>, SourceError> {
    let mut files = Vec::new();
    for entry in WalkDir::new(root).follow_links(true) {
        let entry = entry.map_err(|e| {
            let path = e.path().unwrap_or(root).to_owned();
            // walkdir's own conversion would name the path a second time
            let text = e.to_string();
            SourceError::Io { path, cause: e.into_io_error().unwrap_or_else(|| std::io::Error::other(text)) }
        })?;
        if entry.file_type().is_file()
            && is_image(entry.path())
            && let Ok(relative) = entry.path().strip_prefix(root)
        {
            files.push(relative.into());
        }
    }
    Ok(files)
}

/// The first folder below the root.
fn class_of(file: &Path) -> Option<String> {
    let mut parts = file.components();
    let first = parts.next()?;
    parts.next().map(|_| first.as_os_str().to_string_lossy().into_owned())
}

/// Which images to keep: as many of each class as the limit allows, small classes leaving their share to the others.
fn spread(labels: &[Option<u32>], classes: usize, limit: usize) -> Vec<usize> {
    let mut members = vec![Vec::new(); classes + 1];
    for (i, label) in labels.iter().enumerate() {
        members[label.map_or(classes, |l| l as usize)].push(i);
    }
    members.sort_by_key(Vec::len); // stable: equal classes stay in order
    let mut left = limit.min(labels.len());
    let mut kept = Vec::with_capacity(left);
    let groups = members.len();
    for (at, class) in members.iter().enumerate() {
        let share = (left / (groups - at)).min(class.len());
        kept.extend((0..share).map(|i| class[i * class.len() / share]));
        left -= share;
    }
    kept.sort_unstable();
    kept
}

impl Images for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn name(&self, index: usize) -> String {
        self.files.get(index).map_or_else(|| index.to_string(), |f| f.to_string_lossy().into_owned())
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied().flatten()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn read(&self, index: usize) -> Result<Raw, SourceError> {
        let file = self.files.get(index).ok_or(SourceError::Index { index, len: self.files.len() })?;
        let path = self.root.join(file);
        std::fs::read(&path).map(Raw::Encoded).map_err(|cause| SourceError::Io { path, cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        root
    }

    fn open(root: &Path, limit: Option<usize>) -> Result<Folder, SourceError> {
        Folder::open(&FolderParams { root: root.to_owned(), limit })
    }

    #[test]
    fn images_at_any_depth_in_byte_order_with_the_first_folder_as_class() {
        let root = folder(&[
            "b/deep/er/2.PNG",
            "a/1.jpg",
            "a-b/7.WebP",
            "top.JPEG",
            "a/.hidden.jpg",
            "a/notes.txt",
            "b/no_extension",
            ".jpg",
        ]);
        let source = open(root.path(), None).unwrap();
        let names: Vec<_> = (0..source.len()).map(|i| source.name(i)).collect();
        assert_eq!(names, ["a-b/7.WebP", "a/1.jpg", "b/deep/er/2.PNG", "top.JPEG"]);
        assert_eq!(source.classes(), ["a", "a-b", "b"]);
        let labels: Vec<_> = (0..4).map(|i| source.label(i)).collect();
        assert_eq!(labels, [Some(1), Some(0), Some(2), None]);
        assert_eq!(source.read(1).unwrap(), Raw::Encoded(b"a/1.jpg".to_vec()));
        assert!(matches!(source.read(4), Err(SourceError::Index { index: 4, len: 4 })));
        std::fs::remove_file(root.path().join("top.JPEG")).unwrap();
        assert!(source.read(3).unwrap_err().to_string().contains("top.JPEG"));
    }

    #[test]
    fn a_limit_is_spread_over_the_classes() {
        let files: Vec<_> = (0..40).map(|i| format!("big/{i:02}.jpg")).collect();
        let mut files: Vec<&str> = files.iter().map(String::as_str).collect();
        files.extend(["mid/0.jpg", "mid/1.jpg", "mid/2.jpg", "mid/3.jpg", "one/0.jpg"]);
        let root = folder(&files);
        for (limit, expected) in
            [(3, [1, 1, 1]), (9, [4, 4, 1]), (20, [15, 4, 1]), (99, [40, 4, 1]), (1, [1, 0, 0])]
        {
            let source = open(root.path(), Some(limit)).unwrap();
            let count = |class| (0..source.len()).filter(|&i| source.label(i) == Some(class)).count();
            assert_eq!([count(0), count(1), count(2)], expected, "limit {limit}");
        }
        let source = open(root.path(), Some(3)).unwrap();
        assert_eq!(source.classes().len(), 3);
    }

    #[test]
    fn an_absent_or_empty_folder_says_what_was_looked_for() {
        let root = folder(&["readme.txt"]);
        for (error, expected) in [
            (open(root.path(), None).unwrap_err(), ".jpg, .jpeg, .png or .webp"),
            (open(&root.path().join("nowhere"), None).unwrap_err(), "nowhere"),
            (open(Path::new(""), None).unwrap_err(), "set root"),
        ] {
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
