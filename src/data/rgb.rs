//! An 8-bit picture in memory.

/// An 8-bit RGB picture, interleaved: `pixels` is (height, width, 3), row-major.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rgb8 {
    pub height: usize,
    pub width: usize,
    pub pixels: Vec<u8>,
}

impl Rgb8 {
    /// A black picture.
    pub fn new(height: usize, width: usize) -> Self {
        Rgb8 { height, width, pixels: vec![0; height * width * 3] }
    }

    /// A picture whose pixel at (row, column) is what `color` returns for it.
    pub fn from_fn(height: usize, width: usize, mut color: impl FnMut(usize, usize) -> [u8; 3]) -> Self {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let pixels = pixels.flat_map(|(y, x)| color(y, x)).collect();
        Rgb8 { height, width, pixels }
    }

    /// The pixel at a row and a column, both inside the picture.
    pub fn pixel(&self, y: usize, x: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }
}
