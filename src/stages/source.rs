//! Sources: where pictures come from. Parameters live with the readers in [`crate::data::source`].
pub use crate::data::source::{
    FolderParams as Folder, ListParams as List, ShardsParams as Shards, SyntheticParams as Synthetic,
};
