//! Video object segmentation on DAVIS 2017 (Pont-Tuset et al. 2017), semi-supervised: the first frame's masks are given, and carried on to the
//! frames after it by the likeness of patches (Jabri et al. 2020; the published script `eval_video_segmentation.py`).
//!
//! Frames are normalised as the network's pictures were in training; the published script divides red by 0.228 here, not by ImageNet's 0.229.

pub mod boundary;
pub mod davis;
pub mod folders;
pub mod mask;
pub mod mask_folder;
pub mod propagate;
pub mod ready;
pub mod region;
pub mod resample;
pub mod score;
pub mod track;
