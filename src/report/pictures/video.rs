//! Pictures one after the other, as an animated GIF that any browser shows.

use std::io::{BufWriter, Error, Result};
use std::path::Path;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, RgbaImage};
use tempfile::NamedTempFile;

use crate::checkpoint::atomic;
use crate::data::rgb::Rgb8;

/// Quality against time, 1 to 30: the encoder's own advice.
const SPEED: i32 = 10;

/// An animation that is being written.
pub struct Video {
    encoder: GifEncoder<BufWriter<std::fs::File>>,
    /// Where it lies until it is whole.
    file: NamedTempFile,
    delay: Delay,
    /// Height and width of its frames.
    size: Option<(usize, usize)>,
}

impl Video {
    /// Begins an animation of so many frames a second, in the folder where it will lie.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn new(folder: &Path, fps: u16) -> Result<Self> {
        let file = atomic::unfinished(0o666).tempfile_in(folder)?;
        let mut encoder = GifEncoder::new_with_speed(BufWriter::new(file.reopen()?), SPEED);
        encoder.set_repeat(Repeat::Infinite).map_err(Error::other)?;
        let delay = Delay::from_numer_denom_ms(1000, u32::from(fps.max(1)));
        Ok(Video { encoder, file, delay, size: None })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// When it is of another size than those before, or can't be written.
    pub fn add(&mut self, picture: &Rgb8) -> Result<()> {
        let (height, width) = *self.size.get_or_insert((picture.height, picture.width));
        if (height, width) != (picture.height, picture.width) {
            return Err(Error::other(format!(
                "a frame is {} x {} pixels, those before are {height} x {width}; expected a video's frames, all of one size",
                picture.height, picture.width
            )));
        }
        let opaque = picture.pixels.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        let pixels = RgbaImage::from_raw(width as u32, height as u32, opaque)
            .ok_or_else(|| Error::other("a frame has other pixels than its sides say"))?;
        self.encoder.encode_frame(Frame::from_parts(pixels, 0, 0, self.delay)).map_err(Error::other)
    }

    /// Puts the animation in its place.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(self, path: &Path) -> Result<()> {
        // the encoder writes its last byte when it goes
        drop(self.encoder);
        self.file.as_file().sync_all()?;
        self.file.persist(path).map(drop).map_err(|e| e.error)
    }
}

#[cfg(test)]
mod tests {
    use image::AnimationDecoder;
    use image::codecs::gif::GifDecoder;

    use super::*;

    #[test]
    fn frames_come_back_in_order_and_of_one_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        let mut video = Video::new(folder.path(), 10).unwrap();
        for value in [0, 128, 255] {
            video.add(&Rgb8::from_fn(2, 3, |_, _| [value; 3])).unwrap();
        }
        let other = video.add(&Rgb8::new(3, 3)).unwrap_err().to_string();
        assert!(other.contains("3 x 3") && other.contains("2 x 3"), "{other}");
        video.save(&path).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let frames = GifDecoder::new(file).unwrap().into_frames().collect_frames().unwrap();
        let values: Vec<u8> = frames.iter().map(|frame| frame.buffer().get_pixel(0, 0)[0]).collect();
        assert_eq!(values, [0, 128, 255]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
