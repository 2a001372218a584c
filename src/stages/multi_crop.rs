//! `multi_crop`: the paper's global and local crops of one picture, augmented (section 3.1, appendix).
pub use crate::data::augment::MultiCropSpec as MultiCrop;
