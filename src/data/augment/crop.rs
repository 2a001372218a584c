//! Bicubic resampling of a part of a picture.

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

/// Cuts `height` x `width` pixels at (`top`, `left`) and resizes them to `size` x `size` as Pillow does: bicubic
/// with a = -0.5 (Catmull-Rom), the kernel widened by the reduction factor, 8-bit in between.
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
    resample(image, (top, left), (height, width), (size, size), scratch)
}

/// A whole picture at another size, (height, width), as [`resized_crop`] resizes.
pub fn resized(image: &Rgb8, out: (usize, usize), scratch: &mut Scratch) -> Rgb8 {
    resample(image, (0, 0), (image.height, image.width), out, scratch)
}

/// [`resized_crop`] to any `out` = (height, width).
pub(super) fn resample(
    image: &Rgb8,
    (top, left): (usize, usize),
    (height, width): (usize, usize),
    out: (usize, usize),
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
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    if let Ok(cut) = cut {
        let fitted = scratch.resizer.resize_typed(&cut, &mut target, &options);
        debug_assert!(fitted.is_ok(), "the cut lies inside the picture: {fitted:?}");
    }
    resized
}
