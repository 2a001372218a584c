//! Bytes of an image file to 8-bit RGB: JPEG, PNG and WebP, whatever their color model and depth.

mod jpeg;
mod lossless;
mod orientation;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use super::rgb::Rgb8;

/// What is decoded, and what is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodeOptions {
    /// Turn the picture as its EXIF orientation says (cameras store pictures lying on their side).
    pub orient: bool,
    /// Largest picture, in pixels: a small file can claim to unpack to gigabytes.
    pub max_pixels: usize,
    /// Accept a truncated or damaged JPEG file, with grey where its data is missing, in place of an error.
    pub salvage: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions { orient: true, max_pixels: 100_000_000, salvage: false }
    }
}

/// Bytes that do not decode to a picture.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("neither JPEG, PNG nor WebP: {}", .0)]
    UnknownFormat(String),
    #[error(
        "the picture is {height} x {width} pixels, more than max_pixels = {limit}; raise max_pixels if it is meant to be"
    )]
    TooLarge { height: usize, width: usize, limit: usize },
    #[error("the {format} file has no pixels ({height} x {width})")]
    Empty { format: &'static str, height: usize, width: usize },
    #[error("damaged {format} file: {reason}")]
    Damaged { format: &'static str, reason: String },
}

/// The file formats, told apart by their first bytes: names and extensions lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jpeg,
    Png,
    Webp,
}

impl Format {
    fn of(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes {
            [0xFF, 0xD8, 0xFF, ..] => Ok(Format::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Ok(Format::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Format::Webp),
            [] => Err(DecodeError::UnknownFormat("the file is empty".into())),
            _ => Err(DecodeError::UnknownFormat(format!(
                "the file begins with {:02x?}",
                &bytes[..bytes.len().min(8)]
            ))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::Webp => "WebP",
        }
    }
}

/// Decodes an image file to RGB. Grey is repeated, CMYK and YCCK are converted, 16 bits are rounded to 8,
/// transparency is dropped (as Pillow's `convert("RGB")` does), an animation gives its first frame.
///
/// # Errors
/// When the format is none of the three, the file is damaged, or the picture is larger than `max_pixels`.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Rgb8, DecodeError> {
    let format = Format::of(bytes)?;
    // the decoders are other people's: one panic of theirs over a hostile file must not end a week of training
    let decoded = catch_unwind(AssertUnwindSafe(|| match format {
        Format::Jpeg => jpeg::decode(bytes, options),
        Format::Png | Format::Webp => lossless::decode(bytes, format, options),
    }));
    let (image, orientation) = decoded.unwrap_or_else(|_| {
        Err(DecodeError::Damaged { format: format.name(), reason: "the decoder gave up on it".into() })
    })?;
    Ok(if options.orient { orientation::upright(image, orientation) } else { image })
}

/// Refuses pictures without pixels and those over the limit, before memory is taken for them.
fn check_size(format: Format, height: usize, width: usize, limit: usize) -> Result<(), DecodeError> {
    if height == 0 || width == 0 {
        return Err(DecodeError::Empty { format: format.name(), height, width });
    }
    if height.checked_mul(width).is_none_or(|pixels| pixels > limit) {
        return Err(DecodeError::TooLarge { height, width, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
