//! Where pictures come from.
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
/// What a source yields.
pub enum Raw {
    Encoded(Vec<u8>),
    Drawn(super::rgb::Rgb8),
}
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FolderParams {
    pub root: PathBuf,
    pub limit: Option<usize>,
}
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListParams {
    pub file: PathBuf,
    pub root: Option<PathBuf>,
}
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShardsParams {
    pub files: Vec<PathBuf>,
}
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Split {
    #[default]
    Train,
    Val,
}
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticParams {
    pub count: usize,
    pub size: usize,
    pub classes: usize,
    pub seed: u64,
    pub split: Split,
}
impl Default for SyntheticParams {
    fn default() -> Self {
        SyntheticParams { count: 4096, size: 32, classes: 8, seed: 0, split: Split::Train }
    }
}
