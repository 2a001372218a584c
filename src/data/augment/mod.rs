//! DINO's augmentations.
use serde::{Deserialize, Serialize};
/// The crops of one picture, 8-bit.
pub struct Crops {
    pub global: Vec<super::rgb::Rgb8>,
    pub local: Vec<super::rgb::Rgb8>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultiCrop {
    pub global_size: usize,
    pub local_size: usize,
    pub local_count: usize,
    pub workers: usize,
}
