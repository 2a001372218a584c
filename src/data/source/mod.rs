//! Where pictures come from.
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
/// What a source yields.
pub enum Raw {
    Encoded(Vec<u8>),
    Drawn(super::rgb::Rgb8),
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Folder {
    pub root: PathBuf,
    pub limit: Option<usize>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct List {
    pub file: PathBuf,
    pub root: Option<PathBuf>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shards {
    pub files: Vec<PathBuf>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Synthetic {
    pub count: usize,
    pub size: usize,
    pub classes: usize,
    pub seed: u64,
}
