//! JPEG, baseline and progressive.

use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{DecodeError, DecodeOptions, Format, check_size};
use crate::data::rgb::Rgb8;

/// A JPEG's sides are 16-bit numbers; the limit that counts is `max_pixels`.
const LARGEST_SIDE: usize = 65_535;

/// The picture as stored, and how to turn it.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<(Rgb8, Orientation), DecodeError> {
    let settings = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(LARGEST_SIDE)
        .set_max_height(LARGEST_SIDE)
        .set_strict_mode(!options.salvage);
    let damaged = |reason: &dyn std::fmt::Debug| DecodeError::Damaged {
        format: Format::Jpeg.name(),
        reason: format!("{reason:?}"),
    };
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), settings);
    decoder.decode_headers().map_err(|e| damaged(&e))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged(&"no frame header"))?;
    check_size(Format::Jpeg, height, width, options.max_pixels)?;
    let pixels = decoder.decode().map_err(|e| damaged(&e))?;
    if pixels.len() != height * width * 3 {
        return Err(damaged(&"unexpected number of color channels"));
    }
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    Ok((Rgb8 { height, width, pixels }, orientation.unwrap_or(Orientation::NoTransforms)))
}
