//! Doing to a picture what was drawn for a crop.

use super::crop::{Scratch, resample};
use super::draw::ViewDraw;
use super::{adjust, gaussian_blur, horizontal_flip, solarize};
use crate::data::rgb::Rgb8;

/// Cuts and augments one crop: (size, size), in the paper's order of operations.
pub fn apply(image: &Rgb8, draw: &ViewDraw, scratch: &mut Scratch) -> Rgb8 {
    let (corner, part) = ((draw.top, draw.left), (draw.height, draw.width));
    let mut crop = resample(image, corner, part, (draw.size, draw.size), draw.interpolation, scratch);
    if draw.flip {
        horizontal_flip(&mut crop);
    }
    adjust(&mut crop, &draw.colors);
    if let Some(radius) = draw.blur {
        gaussian_blur(&mut crop, radius, scratch);
    }
    if let Some(threshold) = draw.solarize {
        solarize(&mut crop, threshold);
    }
    crop
}
