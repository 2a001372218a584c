//! A picture in memory.

/// 8-bit RGB, (height, width, 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb8 {
    pub height: usize,
    pub width: usize,
    pub pixels: Vec<u8>,
}
