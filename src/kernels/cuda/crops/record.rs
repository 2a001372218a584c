//! What the kernels read of a crop.

use super::staging::Pictures;
use super::{Crop, Filter, MAX_STEPS, Shade};

/// Places in a stretch of memory, each on a boundary of 16 bytes.
#[derive(Default)]
pub struct Room {
    bytes: usize,
}

impl Room {
    /// Where the next so many bytes stand, from the beginning.
    pub fn take(&mut self, bytes: usize) -> u64 {
        let at = self.bytes;
        self.bytes += bytes.next_multiple_of(16);
        at as u64
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A crop as the kernels take it: `CropsRecord` in crops.cu. Addresses count from the beginning of their memory until they are
/// settled.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Record {
    picture: u64,
    between: u64,
    taps: [u64; 2],
    pitch: i32,
    top: i32,
    left: i32,
    size: [i32; 2],
    between_pitch: i32,
    flip: i32,
    bicubic: i32,
    steps: i32,
    contrast: i32,
    radius: i32,
    threshold: i32,
    inner: u32,
    end: u32,
    kinds: [i32; MAX_STEPS],
    factors: [f32; MAX_STEPS],
}

const _: () = assert!(size_of::<Record>() == 128, "no gaps, and the size that crops.cu sees");

impl Record {
    pub fn of(crop: &Crop, pictures: &Pictures) -> Record {
        let picture = pictures.place(crop.picture);
        let (top, left) = (crop.top.min(picture.height - 1), crop.left.min(picture.width - 1));
        let height = crop.height.clamp(1, picture.height - top);
        let width = crop.width.clamp(1, picture.width - left);
        // whole words around the cut's bytes
        let between_pitch = ((left + width) * 3).next_multiple_of(4) - left * 3 / 4 * 4;
        let mut record = Record {
            picture: picture.offset as u64,
            between: 0,
            taps: [0; 2],
            pitch: picture.pitch as i32,
            top: top as i32,
            left: left as i32,
            size: [height as i32, width as i32],
            between_pitch: between_pitch as i32,
            flip: crop.flip.into(),
            bicubic: (crop.filter == Filter::Bicubic).into(),
            steps: crop.shades.len() as i32,
            contrast: 0,
            radius: crop.blur.map_or(-1, |blur| blur.radius as i32),
            // a level above all others where nothing is inverted
            threshold: crop.solarize.map_or(256, i32::from),
            inner: crop.blur.map_or(0, |blur| blur.inner),
            end: crop.blur.map_or(0, |blur| blur.end),
            kinds: [0; MAX_STEPS],
            factors: [0.0; MAX_STEPS],
        };
        record.color(&crop.shades);
        record
    }

    fn color(&mut self, shades: &[Shade]) {
        assert!(shades.len() <= MAX_STEPS, "{} operations on colours, above {MAX_STEPS}", shades.len());
        let is_contrast = |shade: &Shade| matches!(shade, Shade::Contrast(_));
        assert!(shades.iter().filter(|shade| is_contrast(shade)).count() <= 1, "a contrast at most");
        self.contrast = shades.iter().position(is_contrast).unwrap_or(shades.len()) as i32;
        for (shade, (kind, factor)) in shades.iter().zip(self.kinds.iter_mut().zip(&mut self.factors)) {
            (*kind, *factor) = match *shade {
                Shade::Brightness(factor) => (0, factor),
                Shade::Contrast(factor) => (1, factor),
                Shade::Saturation(factor) => (2, factor),
                Shade::Hue(by) => (3, by.into()),
                Shade::Grey => (4, 0.0),
            };
        }
    }

    pub fn is_blurred(&self) -> bool {
        self.radius >= 0
    }

    /// Bytes of the cut once its columns are resized.
    pub fn between(&self, side: usize) -> usize {
        side * self.between_pitch as usize
    }

    /// The most weights that a place of the resized crop has, down or across.
    fn window(&self, direction: usize, side: usize) -> usize {
        let support = if self.bicubic == 1 { 2.0 } else { 1.0 };
        let scale = f64::from(self.size[direction]) / side as f64;
        (support * scale.max(1.0)).ceil() as usize * 2 + 1
    }

    /// Takes room for what is made on the way.
    pub fn place(&mut self, side: usize, room: &mut Room) {
        self.between = room.take(self.between(side));
        self.taps = [0, 1].map(|direction| room.take(2 * side * self.window(direction, side)));
    }

    /// Makes addresses of places.
    pub fn settle(&mut self, pictures: u64, base: u64) {
        self.picture += pictures;
        self.between += base;
        self.taps = self.taps.map(|place| place + base);
    }
}
