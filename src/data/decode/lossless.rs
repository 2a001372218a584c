//! PNG and WebP.

use std::io::Cursor;

use image::codecs::{png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Limits};

use super::{DecodeError, DecodeOptions, Format, check_size};
use crate::data::rgb::Rgb8;

/// The widest pixel that a decoder may unpack: four channels of 16 bits.
const WIDEST_PIXEL: u64 = 8;

/// The picture as stored, and how to turn it.
pub fn decode(
    bytes: &[u8],
    format: Format,
    options: &DecodeOptions,
) -> Result<(Rgb8, Orientation), DecodeError> {
    let read = Cursor::new(bytes);
    let damaged = |e: ImageError| DecodeError::Damaged { format: format.name(), reason: e.to_string() };
    match format {
        Format::Png => unpack(PngDecoder::new(read).map_err(damaged)?, format, options),
        _ => unpack(WebPDecoder::new(read).map_err(damaged)?, format, options),
    }
}

fn unpack(
    mut decoder: impl ImageDecoder,
    format: Format,
    options: &DecodeOptions,
) -> Result<(Rgb8, Orientation), DecodeError> {
    let damaged = |e: ImageError| DecodeError::Damaged { format: format.name(), reason: e.to_string() };
    let (width, height) = decoder.dimensions();
    check_size(format, height as usize, width as usize, options.max_pixels)?;
    let mut limits = Limits::no_limits();
    // decoders keep some buffers besides the picture itself
    limits.max_alloc = Some((options.max_pixels as u64).saturating_mul(2 * WIDEST_PIXEL));
    decoder.set_limits(limits).map_err(damaged)?;
    // an unreadable orientation is no reason to lose the picture
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(damaged)?.into_rgb8();
    let (width, height) = (image.width() as usize, image.height() as usize);
    Ok((Rgb8 { height, width, pixels: image.into_raw() }, orientation))
}
