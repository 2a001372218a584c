//! Resampling of a part of a picture as Pillow does it: the kernel widened by the reduction factor, 8-bit in between.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::data::rgb::Rgb8;

/// Buffers that one thread keeps from crop to crop.
#[derive(Default)]
pub struct Scratch {
    resizer: Resizer,
    /// The blur's lines and planes.
    pub(super) blur: super::blur::Buffers,
}

/// What pixels are made of others by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// A triangle: torchvision's default.
    Bilinear,
    /// Catmull-Rom, a = -0.5: DINO's.
    #[default]
    Bicubic,
    /// A windowed sinc of three lobes: Pillow's `LANCZOS`.
    Lanczos,
}

impl Interpolation {
    fn filter(self) -> FilterType {
        match self {
            Interpolation::Bilinear => FilterType::Bilinear,
            Interpolation::Bicubic => FilterType::CatmullRom,
            Interpolation::Lanczos => FilterType::Lanczos3,
        }
    }
}

/// Cuts `height` x `width` pixels at (`top`, `left`) and resizes them to `size` x `size`, bicubic.
///
/// A part that reaches over the picture's border is moved and shrunk to lie inside it; of a picture without pixels
/// the crop is black.
pub fn resized_crop(
    image: &Rgb8,
    (top, left): (usize, usize),
    (height, width): (usize, usize),
    size: usize,
    scratch: &mut Scratch,
) -> Rgb8 {
    resample(image, (top, left), (height, width), (size, size), Interpolation::Bicubic, scratch)
}

/// A whole picture at another size, (height, width).
pub fn resized(
    image: &Rgb8,
    out: (usize, usize),
    interpolation: Interpolation,
    scratch: &mut Scratch,
) -> Rgb8 {
    resample(image, (0, 0), (image.height, image.width), out, interpolation, scratch)
}

/// [`resized_crop`] to any `out` = (height, width), by any interpolation.
pub(super) fn resample(
    image: &Rgb8,
    (top, left): (usize, usize),
    (height, width): (usize, usize),
    out: (usize, usize),
    interpolation: Interpolation,
    scratch: &mut Scratch,
) -> Rgb8 {
    let mut resized = Rgb8::new(out.0, out.1);
    if image.pixels.is_empty() {
        return resized;
    }
    let (top, left) = (top.min(image.height.saturating_sub(1)), left.min(image.width.saturating_sub(1)));
    let (height, width) = (height.clamp(1, image.height - top), width.clamp(1, image.width - left));
    let (Ok(source), Ok(mut target)) = (
        TypedImageRef::<U8x3>::from_buffer(image.width as u32, image.height as u32, &image.pixels),
        TypedImage::<U8x3>::from_buffer(out.1 as u32, out.0 as u32, &mut resized.pixels),
    ) else {
        return resized;
    };
    // a real cut, not a box over the whole picture: pixels outside the crop must not bleed into its border
    let cut = TypedCroppedImage::from_ref(&source, left as u32, top as u32, width as u32, height as u32);
    let algorithm = ResizeAlg::Convolution(interpolation.filter());
    let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
    if let Ok(cut) = cut {
        let fitted = scratch.resizer.resize_typed(&cut, &mut target, &options);
        debug_assert!(fitted.is_ok(), "the cut lies inside the picture: {fitted:?}");
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Pillow 13 makes of a small picture; a level more or less is rounding.
    #[test]
    fn interpolations_are_pillows() {
        let image =
            Rgb8::from_fn(5, 7, |y, x| [37 * y + 11 * x, 90 * x + 5 * y, 53 * x * y + 17].map(|v| v as u8));
        let check = |interpolation, expected: [u8; 36]| {
            let found = resized(&image, (3, 4), interpolation, &mut Scratch::default());
            let far = found.pixels.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max();
            assert!(far <= Some(1), "{interpolation:?}: {:?}", found.pixels);
        };
        check(
            Interpolation::Bilinear,
            [
                22, 49, 29, 39, 118, 64, 59, 99, 84, 76, 105, 37, 80, 57, 70, 97, 126, 152, 117, 107, 141,
                134, 113, 98, 138, 65, 104, 155, 134, 165, 175, 115, 122, 192, 121, 75,
            ],
        );
        check(
            Interpolation::Bicubic,
            [
                17, 48, 24, 36, 119, 65, 56, 98, 87, 75, 109, 31, 78, 56, 65, 97, 127, 163, 117, 106, 149,
                136, 117, 99, 139, 64, 103, 158, 135, 175, 178, 114, 120, 197, 125, 71,
            ],
        );
        check(
            Interpolation::Lanczos,
            [
                16, 53, 23, 35, 115, 66, 55, 98, 86, 74, 114, 26, 78, 61, 64, 97, 123, 172, 117, 106, 150,
                136, 122, 102, 140, 69, 102, 159, 131, 183, 179, 114, 112, 198, 130, 68,
            ],
        );
    }
}
