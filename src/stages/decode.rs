//! `decode`: bytes to 8-bit RGB.
use serde::{Deserialize, Serialize};

/// Decodes JPEG, PNG and WebP; grey, CMYK and 16-bit become 8-bit RGB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decode {
    /// Threads that decode.
    pub workers: usize,
    /// Stops at the first picture that can't be read, with its name; otherwise it is replaced deterministically,
    /// counted, and named in `rejected.jsonl`.
    pub strict: bool,
    /// Turns pictures as their EXIF orientation says.
    pub exif_orientation: bool,
    /// The largest picture taken, in pixels.
    pub max_pixels: u64,
}

impl Default for Decode {
    fn default() -> Self {
        Decode { workers: 2, strict: false, exif_orientation: true, max_pixels: 200_000_000 }
    }
}
