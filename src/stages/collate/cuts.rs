//! What was drawn for crops, as the GPU's kernels take it.

use crate::data::Rgb8;
use crate::data::augment::{BoxKernel, Color, Interpolation, ViewDraw, turned_by};
use crate::kernels::cuda::crops::{BoxBlur, Crop, Filter, Picture, Shade};

/// A crop of the picture of this number; none where the GPU has no kernel for it.
pub fn crop(drawn: &ViewDraw, picture: usize) -> Option<Crop> {
    let filter = match drawn.interpolation {
        Interpolation::Bilinear => Filter::Bilinear,
        Interpolation::Bicubic => Filter::Bicubic,
        Interpolation::Lanczos => return None,
    };
    let blur = drawn.blur.and_then(BoxKernel::of_blur);
    Some(Crop {
        picture,
        top: drawn.top,
        left: drawn.left,
        height: drawn.height,
        width: drawn.width,
        filter,
        flip: drawn.flip,
        shades: drawn.colors.iter().map(shade).collect(),
        blur: blur.map(|BoxKernel { radius, inner, end }| BoxBlur { radius, inner, end }),
        solarize: drawn.solarize,
    })
}

fn shade(color: &Color) -> Shade {
    match *color {
        Color::Brightness(factor) => Shade::Brightness(factor as f32),
        Color::Contrast(factor) => Shade::Contrast(factor as f32),
        Color::Saturation(factor) => Shade::Saturation(factor as f32),
        Color::Hue(share) => Shade::Hue(turned_by(share)),
        Color::Grayscale => Shade::Grey,
    }
}

/// A picture as the kernels take it.
pub fn picture(picture: &Rgb8) -> Picture<'_> {
    Picture { height: picture.height, width: picture.width, pixels: &picture.pixels }
}

#[cfg(test)]
mod tests;
