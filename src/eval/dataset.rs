//! A word on the command line as the pictures that it means.

use std::path::Path;
use std::sync::Arc;

use crate::data::source::{FolderParams, Images, ListParams, ShardsParams};
use crate::error::Error;
use crate::graph::problem::nearest;
use crate::graph::write::extensions;
use crate::stages::StageSpec;
use crate::stages::source;

/// What an argument may be, for help and for messages.
pub const FORMS: &str = "a folder of pictures, a list (one path a line), a .tar file, or a source as RON: 'Synthetic(count: 100)'";

/// The sources that a graph may have.
const SOURCES: [&str; 4] = ["Folder", "List", "Shards", "Synthetic"];

/// Opens the pictures that an argument means: a folder (of `.tar` files when it holds nothing else), a `.tar` file, a list, or any
/// source of a graph written as RON.
///
/// # Errors
/// [`Error::Request`] when it is none of these, or does not open.
pub fn open(argument: &str) -> Result<Arc<dyn Images>, Error> {
    let stage = stage(argument)?;
    source::open(&stage).map_err(|e| Error::Request(format!("{argument}: {e}")))
}

/// The source that an argument means.
fn stage(argument: &str) -> Result<StageSpec, Error> {
    let path = Path::new(argument);
    let tar = |path: &Path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("tar"));
    if path.is_dir() {
        let visible = |entry: &std::fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
        let entries = std::fs::read_dir(path).map(|all| all.flatten().filter(visible).collect::<Vec<_>>());
        // the order in which a folder tells what is in it is nobody's
        let shards = entries.is_ok_and(|all| !all.is_empty() && all.iter().all(|entry| tar(&entry.path())));
        return Ok(match shards {
            true => StageSpec::Shards(ShardsParams { files: vec![path.to_owned()] }),
            false => StageSpec::Folder(FolderParams { root: path.to_owned(), limit: None }),
        });
    }
    if path.is_file() && tar(path) {
        return Ok(StageSpec::Shards(ShardsParams { files: vec![path.to_owned()] }));
    }
    if path.is_file() {
        return Ok(StageSpec::List(ListParams { file: path.to_owned(), root: None }));
    }
    if let Some((word, _)) = argument.split_once('(') {
        let word = word.trim();
        if !SOURCES.contains(&word) {
            let meant =
                nearest(word, SOURCES).map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            return Err(Error::Request(format!(
                "{argument}: there is no source `{word}`{meant}; expected {FORMS}"
            )));
        }
        let options = ron::Options::default().with_default_extension(extensions());
        return options
            .from_str(argument)
            .map_err(|e| Error::Request(format!("{argument}: {e}; expected {FORMS}")));
    }
    Err(Error::Request(format!("{argument}: no such file or folder; expected {FORMS}")))
}

/// Sees to it that two sources number the same classes alike. Of two lists whose classes are numbers, one may have fewer.
///
/// # Errors
/// [`Error::Request`] when they are not, or when there are none.
pub fn same_classes(train: &dyn Images, val: &dyn Images) -> Result<(), Error> {
    if train.classes().is_empty() {
        return Err(Error::Request(
            "the training pictures have no classes: put each class into a folder of its own, or name it in the list"
                .into(),
        ));
    }
    if !alike(train.classes(), val.classes()) {
        let missing = |from: &dyn Images, of: &dyn Images| {
            let only = from.classes().iter().find(|name| !of.classes().contains(name));
            only.map_or_else(|| "none".to_owned(), |name| format!("`{name}`"))
        };
        return Err(Error::Request(format!(
            "the classes of --train ({}) and of --val ({}) must have the same names in the same order; in train alone: {}, in val alone: {}",
            train.classes().len(),
            val.classes().len(),
            missing(train, val),
            missing(val, train)
        )));
    }
    Ok(())
}

/// Whether a label means the same class in both.
fn alike(a: &[String], b: &[String]) -> bool {
    let numbered = |classes: &[String]| classes.iter().enumerate().all(|(at, name)| *name == at.to_string());
    a == b || (numbered(a) && numbered(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(path("shards")).unwrap();
        std::fs::write(path("shards/a.tar"), "").unwrap();
        std::fs::write(path("list.txt"), "a.png").unwrap();
        std::fs::create_dir_all(path("mixed/class")).unwrap();
        std::fs::write(path("mixed/left.tar"), "").unwrap();
        let check = |argument: &str, expected: &str| {
            assert_eq!(stage(argument).unwrap().kind(), expected, "{argument}");
        };
        check(&path(""), "Folder");
        check(&path("shards"), "Shards");
        check(&path("shards/a.tar"), "Shards");
        check(&path("mixed"), "Folder");
        check(&path("list.txt"), "List");
        check("Synthetic(count: 7, size: 16, classes: 2)", "Synthetic");
    }

    #[test]
    fn classes_are_alike_where_labels_mean_the_same() {
        let check = |a: &[&str], b: &[&str], expected: bool| {
            let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
            assert_eq!(alike(&owned(a), &owned(b)), expected, "{a:?} {b:?}");
            assert_eq!(alike(&owned(b), &owned(a)), expected, "{b:?} {a:?}");
        };
        check(&["cat", "dog"], &["cat", "dog"], true);
        check(&["cat", "dog"], &["dog", "cat"], false);
        check(&["cat", "dog"], &["cat"], false);
        check(&["0", "1", "2"], &["0", "1"], true);
        check(&["1", "2"], &["2"], false);
    }

    #[test]
    fn what_is_no_data_is_told_with_what_would_be() {
        let check = |argument: &str, said: &str| {
            let error = open(argument).err().expect("refused");
            assert!(error.exit_status() == 2 && error.to_string().contains(said), "{error}");
        };
        check("nowhere", "no such file or folder; expected a folder of pictures");
        check("Synthetic(cuont: 7)", "cuont");
        check("Syntetic(count: 7)", "no source `Syntetic`; did you mean `Synthetic`?");
        check("Knn(", "expected a folder of pictures");
    }
}
