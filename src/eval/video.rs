//! Video object segmentation on DAVIS 2017 (Pont-Tuset et al. 2017), semi-supervised: the first frame's masks are given, and carried on to the
//! frames after it by the likeness of patches (Jabri et al. 2020; the published script `eval_video_segmentation.py`).

pub mod boundary;
pub mod davis;
pub mod folders;
pub mod mask;
pub mod propagate;
pub mod region;
pub mod resample;
pub mod score;
pub mod track;
