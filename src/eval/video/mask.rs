//! Masks as DAVIS keeps them: PNG files whose pixels are numbers of objects, 0 the background, with a palette to look at.

use std::io::{Cursor, ErrorKind};
use std::path::Path;

use crate::checkpoint::atomic;
use crate::error::Error;

/// Objects by pixel, (height, width).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    pub height: usize,
    pub width: usize,
    /// 0 is the background, [`VOID`] what nobody decided on: in a true mask it counts as background.
    pub pixels: Vec<u8>,
}

/// What a true mask holds where nobody decided. The semi-supervised task of DAVIS's evaluation (davis2017-evaluation) passes no void masks to its
/// measures, so that such a pixel is background there.
pub const VOID: u8 = 255;

/// Largest mask that is read, in pixels: a small file can claim to unpack to gigabytes.
const MOST_PIXELS: usize = 100_000_000;

impl Objects {
    /// Reads a mask: numbers of a palette, or grey levels, of 8 bits or fewer.
    ///
    /// # Errors
    /// When the file can't be read, is no PNG, or is in true colour, where numbers of objects can't be told.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = |cause| Error::File { doing: "read", path: path.to_owned(), cause };
        let bytes = std::fs::read(path).map_err(file)?;
        let invalid = |text: String| file(std::io::Error::new(ErrorKind::InvalidData, text));
        Self::decode(&bytes).map_err(invalid)
    }

    /// Height and width of a mask, from the beginning of its file.
    ///
    /// # Errors
    /// When the file can't be read or is no PNG.
    pub fn size(path: &Path) -> Result<(usize, usize), Error> {
        let wrong = |cause| Error::File { doing: "read", path: path.to_owned(), cause };
        let file = std::io::BufReader::new(std::fs::File::open(path).map_err(wrong)?);
        let reader = png::Decoder::new(file).read_info();
        let reader = reader.map_err(|e| {
            wrong(std::io::Error::new(ErrorKind::InvalidData, format!("damaged PNG file: {e}")))
        })?;
        Ok((reader.info().height as usize, reader.info().width as usize))
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut decoder = png::Decoder::new(Cursor::new(bytes));
        // numbers of the palette, not its colours
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info().map_err(|e| format!("damaged PNG file: {e}"))?;
        let (color, depth) = reader.output_color_type();
        let (width, height) = (reader.info().width as usize, reader.info().height as usize);
        if !matches!(color, png::ColorType::Indexed | png::ColorType::Grayscale)
            || depth == png::BitDepth::Sixteen
        {
            let text = "expected a mask with a palette or grey levels of at most 8 bits";
            return Err(format!("{text}, found {color:?} of {depth:?} bits"));
        }
        let size = reader.output_buffer_size().filter(|_| width.saturating_mul(height) <= MOST_PIXELS);
        let size = size.ok_or_else(|| format!("a mask of {width} x {height} pixels is too large"))?;
        let mut packed = vec![0; size];
        let frame = reader.next_frame(&mut packed).map_err(|e| format!("damaged PNG file: {e}"))?;
        let pixels = unpack(&packed, frame.line_size, (height, width), depth as usize);
        Ok(Objects { height, width, pixels })
    }

    /// Writes a mask with DAVIS's palette.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let file = |cause| Error::File { doing: "write", path: path.to_owned(), cause };
        atomic::write(path, |to| {
            let mut encoder = png::Encoder::new(to, self.width as u32, self.height as u32);
            encoder.set_color(png::ColorType::Indexed);
            encoder.set_depth(png::BitDepth::Eight);
            encoder.set_palette(palette());
            let mut writer = encoder.write_header().map_err(std::io::Error::other)?;
            writer.write_image_data(&self.pixels).map_err(std::io::Error::other)?;
            writer.finish().map_err(std::io::Error::other)
        })
        .map_err(file)
    }

    /// The largest number of an object, 0 where there is none.
    pub fn largest(&self) -> u8 {
        self.pixels.iter().copied().filter(|&pixel| pixel != VOID).max().unwrap_or(0)
    }

    /// Whether each pixel belongs to an object.
    pub fn of(&self, object: u8) -> Vec<bool> {
        self.pixels.iter().map(|&pixel| pixel == object).collect()
    }
}

/// Pixels of 1, 2, 4 or 8 bits, the first in a byte's high bits, in rows that begin at whole bytes.
fn unpack(packed: &[u8], line: usize, (height, width): (usize, usize), depth: usize) -> Vec<u8> {
    let low_bits = ((1u16 << depth) - 1) as u8;
    let pixel = |y: usize, x: usize| {
        let bit = x * depth;
        packed[y * line + bit / 8] >> (8 - depth - bit % 8) & low_bits
    };
    (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| pixel(y, x)).collect()
}

/// PASCAL VOC's colours, which DAVIS uses too: the bits of a number, three at a time from the lowest, are the highest bits of red, green
/// and blue.
fn palette() -> Vec<u8> {
    let color = |number: usize| {
        (0..3).map(move |channel| {
            (0..3).fold(0u8, |c, i| c | ((number >> (3 * i + channel) & 1) as u8) << (7 - i))
        })
    };
    (0..256).flat_map(color).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("00001.png");
        let mask =
            Objects { height: 3, width: 5, pixels: (0..15).map(|i| if i == 7 { VOID } else { i }).collect() };
        mask.write(&path).unwrap();
        assert_eq!(Objects::read(&path).unwrap(), mask);
        assert_eq!((mask.largest(), Objects::size(&path).unwrap()), (14, (3, 5)));
        assert_eq!(mask.of(2).iter().filter(|&&inside| inside).count(), 1);
    }

    #[test]
    fn colours_are_the_known_ones() {
        let palette = palette();
        let color = |number: usize| &palette[number * 3..][..3];
        assert_eq!(
            [color(0), color(1), color(2), color(3)],
            [&[0, 0, 0], &[128, 0, 0], &[0, 128, 0], &[128, 128, 0]]
        );
        assert_eq!((color(8), color(255)), (&[64, 0, 0][..], &[224, 224, 192][..]));
    }

    #[test]
    fn packed_pixels_are_taken_apart_and_colours_refused() {
        assert_eq!(unpack(&[0b1011_0000, 0b0100_0000], 1, (2, 3), 1), [1, 0, 1, 0, 1, 0]);
        assert_eq!(unpack(&[0x4F, 0xA0], 2, (1, 3), 4), [4, 15, 10]);
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&[1, 2, 3]).unwrap();
        assert!(Objects::decode(&bytes).unwrap_err().contains("found Rgb"));
        assert!(Objects::decode(b"no").unwrap_err().contains("damaged"));
    }
}
