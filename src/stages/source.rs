//! Sources: where pictures come from. Parameters live with the readers in [`crate::data::source`].
pub use crate::data::source::{Folder, List, Shards, Synthetic};
