//! DINO's augmentations (Caron et al. 2021, section 3.2; the operations are BYOL's), on 8-bit pixels.
//!
//! One file an operation, each with explicit parameters and the arithmetic of Pillow and torchvision, so that a
//! recipe tuned there behaves the same here. [`MultiCropSpec`] says what may happen, [`draw`] decides by key what
//! does happen to one crop, [`apply`] does it, [`multi_crop`] does all crops of a picture.

mod apply;
mod blur;
pub mod color;
mod crop;
mod draw;
mod eval_view;
mod flip;
mod multi_crop;
mod normalize;
mod solarize;
mod spec;

pub use apply::apply;
pub use blur::{BoxKernel, gaussian_blur};
pub use color::{Color, adjust, brightness, contrast, grayscale, hue, saturation, turned_by};
pub use crop::{Interpolation, Scratch, resized, resized_crop};
pub use draw::{ViewDraw, draw};
pub use eval_view::eval_view;
pub use flip::horizontal_flip;
pub use multi_crop::{Crops, Cuts, draws, multi_crop};
pub use normalize::{IMAGENET_DEVIATION, IMAGENET_MEAN, normalize_into};
pub use solarize::solarize;
pub use spec::{CutOn, MultiCropSpec, SpecFault, ViewSpec};
