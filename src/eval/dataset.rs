//! A word on the command line as the pictures that it means.

use std::path::Path;
use std::sync::Arc;

use crate::data::source::{FolderParams, Images, ListParams, ShardsParams};
use crate::error::Error;
use crate::graph::write::extensions;
use crate::stages::StageSpec;
use crate::stages::source;

/// What an argument may be, for help and for messages.
pub const FORMS: &str = "a folder of pictures, a list (one path a line), a .tar file, or a source as RON: 'Synthetic(count: 100)'";

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
        let shards = std::fs::read_dir(path).is_ok_and(|mut entries| {
            entries.next().is_some_and(|first| first.is_ok_and(|entry| tar(&entry.path())))
        });
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
    if argument.contains('(') {
        let options = ron::Options::default().with_default_extension(extensions());
        return options
            .from_str(argument)
            .map_err(|e| Error::Request(format!("{argument}: {e}; expected {FORMS}")));
    }
    Err(Error::Request(format!("{argument}: no such file or folder; expected {FORMS}")))
}

/// Names the classes of two sources that must be the same ones.
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
    if train.classes() != val.classes() {
        let missing = |from: &dyn Images, of: &dyn Images| {
            let only = from.classes().iter().find(|name| !of.classes().contains(name));
            only.map_or_else(|| "none".to_owned(), |name| format!("`{name}`"))
        };
        return Err(Error::Request(format!(
            "the classes of --train ({}) and of --val ({}) must have the same names; in train alone: {}, in val alone: {}",
            train.classes().len(),
            val.classes().len(),
            missing(train, val),
            missing(val, train)
        )));
    }
    Ok(())
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
        let check = |argument: &str, expected: &str| {
            assert_eq!(stage(argument).unwrap().kind(), expected, "{argument}");
        };
        check(&path(""), "Folder");
        check(&path("shards"), "Shards");
        check(&path("shards/a.tar"), "Shards");
        check(&path("list.txt"), "List");
        check("Synthetic(count: 7, size: 16, classes: 2)", "Synthetic");
    }

    #[test]
    fn what_is_no_data_is_told_with_what_would_be() {
        let check = |argument: &str, said: &str| {
            let error = open(argument).err().expect("refused");
            assert!(error.exit_status() == 2 && error.to_string().contains(said), "{error}");
        };
        check("nowhere", "no such file or folder; expected a folder of pictures");
        check("Synthetic(cuont: 7)", "cuont");
        check("Knn(", "expected a folder of pictures");
    }
}
