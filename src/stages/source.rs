//! Sources: where pictures come from. Parameters live with the readers in [`crate::data::source`].
use std::path::PathBuf;
use std::sync::Arc;

use super::StageSpec;
use super::declare::*;
use super::range::Ranges;
use crate::data::source::{self, Images, SourceError};
pub use crate::data::source::{
    FolderParams as Folder, ListParams as List, ShardsParams as Shards, SyntheticParams as Synthetic,
};

/// What all sources declare alike.
macro_rules! source {
    ($($own:item)*) => {
        fn role(&self) -> Role {
            Role::Source
        }

        fn rate(&self) -> Rate {
            Rate::Sample
        }

        fn ports(&self) -> Ports {
            Ports { inputs: Vec::new(), outputs: vec![Port::new("bytes", "the next picture of the epoch's order")] }
        }

        fn infer(&self, _scope: &Scope, _given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
            Ok(vec![EdgeType::Bytes])
        }

        fn cost(&self, _scope: &Scope, _given: &Given) -> Cost {
            Cost::default()
        }

        $($own)*
    };
}

/// A path that must be given.
fn given(name: &str, path: &PathBuf, ranges: &mut Ranges) {
    if path.as_os_str().is_empty() {
        ranges.push(Problem::parameter(name, "a path", "none"));
    }
}

impl Declare for Folder {
    source! {
        fn problems(&self, scope: &Scope) -> Vec<Problem> {
            let mut ranges = Ranges::new(scope);
            given("root", &self.root, &mut ranges);
            ranges.count("limit", self.limit.unwrap_or(1), 1, usize::MAX);
            ranges.finish()
        }

        fn reads(&self) -> Vec<(String, PathBuf)> {
            vec![("root".into(), self.root.clone())]
        }
    }
}

impl Declare for List {
    source! {
        fn problems(&self, scope: &Scope) -> Vec<Problem> {
            let mut ranges = Ranges::new(scope);
            given("file", &self.file, &mut ranges);
            ranges.finish()
        }

        fn reads(&self) -> Vec<(String, PathBuf)> {
            vec![("file".into(), self.file.clone())]
        }
    }
}

impl Declare for Shards {
    source! {
        fn problems(&self, scope: &Scope) -> Vec<Problem> {
            let mut ranges = Ranges::new(scope);
            if self.files.is_empty() {
                ranges.push(Problem::parameter("files", "at least one path", "none"));
            }
            ranges.finish()
        }

        fn reads(&self) -> Vec<(String, PathBuf)> {
            self.files.iter().enumerate().map(|(i, file)| (format!("files.{i}"), file.clone())).collect()
        }
    }
}

impl Declare for Synthetic {
    source! {
        fn problems(&self, scope: &Scope) -> Vec<Problem> {
            let mut ranges = Ranges::new(scope);
            ranges.count("count", self.count, 1, u32::MAX as usize);
            ranges.count("size", self.size, 1, 4096);
            ranges.count("classes", self.classes, 1, source::FAMILIES.len());
            ranges.finish()
        }

        fn images(&self) -> Option<usize> {
            Some(self.count)
        }
    }
}

/// Opens the pictures that a source's parameters name.
///
/// # Errors
/// What is wrong with them, in words; a stage of another role.
pub fn open(stage: &StageSpec) -> Result<Arc<dyn Images>, SourceError> {
    Ok(match stage {
        StageSpec::Folder(params) => Arc::new(source::Folder::open(params)?),
        StageSpec::List(params) => Arc::new(source::List::open(params)?),
        StageSpec::Shards(params) => Arc::new(source::Shards::open(params)?),
        StageSpec::Synthetic(params) => Arc::new(source::Synthetic::open(params)?),
        _ => return Err(SourceError::Unset("a source: Folder, List, Shards or Synthetic")),
    })
}
