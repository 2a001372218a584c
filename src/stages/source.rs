//! Sources: where pictures come from. Parameters live with the readers in [`crate::data::source`].
use std::sync::Arc;

use super::StageSpec;
use super::declare::*;
use crate::data::source::{self, Images, SourceError};
pub use crate::data::source::{
    FolderParams as Folder, ListParams as List, ShardsParams as Shards, SyntheticParams as Synthetic,
};

/// What all sources declare alike: no input, pictures out, one at a time.
macro_rules! source {
    ($($stage:ident { $self:ident, problems: $problems:expr, images: $images:expr })*) => {
        $(impl Declare for $stage {
            fn role(&self) -> Role {
                Role::Source
            }

            fn rate(&self) -> Rate {
                Rate::Sample
            }

            fn ports(&self) -> Ports {
                Ports { inputs: vec![], outputs: vec![Port::new("bytes", "the next picture of the epoch, encoded or drawn")] }
            }

            fn problems(&$self, _: &Scope) -> Vec<Problem> {
                $problems.into_iter().flatten().collect()
            }

            fn infer(&self, _: &Scope, _: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
                Ok(vec![EdgeType::Bytes])
            }

            fn images(&$self) -> Option<usize> {
                $images
            }
        })*
    };
}

source! {
    Folder {
        self,
        problems: [Problem::unless(!self.root.as_os_str().is_empty(), "root", "nothing", "the folder that holds the pictures")],
        images: None
    }
    List {
        self,
        problems: [Problem::unless(!self.file.as_os_str().is_empty(), "file", "nothing", "the list's path")],
        images: None
    }
    Shards {
        self,
        problems: [Problem::unless(!self.files.is_empty(), "files", "[]", "the tar files, or a folder of them")],
        images: None
    }
    Synthetic {
        self,
        problems: [
            Problem::unless(self.count > 0, "count", self.count, "at least 1"),
            Problem::unless((8..=4096).contains(&self.size), "size", self.size, "8 to 4096 pixels"),
            Problem::unless((2..=crate::data::source::FAMILIES.len()).contains(&self.classes), "classes", self.classes,
                &format!("2 to {}", crate::data::source::FAMILIES.len())),
        ],
        images: Some(self.count)
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
