//! A block of pixels in `f32` lanes, whose values are whole levels from 0 to 255 between operations.

/// Pixels in a block: few enough for the first-level cache, a multiple of every vector width.
pub const PIXELS: usize = 64;

/// One channel's values.
pub type Lanes = [f32; PIXELS];

/// Red, green and blue lanes of one block.
pub struct Block {
    pub red: Lanes,
    pub green: Lanes,
    pub blue: Lanes,
}

/// 2^23: added to a whole number below 256, it leaves that number in the low byte of the bits. A cast would do the
/// same, but pays for infinities and NaN, which cannot be here.
const LOW_BYTE: f32 = 8_388_608.0;

impl Block {
    #[inline(always)]
    pub fn load(bytes: &[u8; 3 * PIXELS]) -> Self {
        // split as bytes first: the compiler knows how to do that with shuffles
        let (mut r, mut g, mut b) = ([0u8; PIXELS], [0u8; PIXELS], [0u8; PIXELS]);
        for i in 0..PIXELS {
            r[i] = bytes[3 * i];
            g[i] = bytes[3 * i + 1];
            b[i] = bytes[3 * i + 2];
        }
        Block { red: widen(&r), green: widen(&g), blue: widen(&b) }
    }

    #[inline(always)]
    pub fn store(&self, bytes: &mut [u8; 3 * PIXELS]) {
        let (r, g, b) = (narrow(&self.red), narrow(&self.green), narrow(&self.blue));
        for i in 0..PIXELS {
            bytes[3 * i] = r[i];
            bytes[3 * i + 1] = g[i];
            bytes[3 * i + 2] = b[i];
        }
    }

    /// Each value on the line from `from` through it (Pillow's `Image.blend` with a constant picture).
    #[inline(always)]
    pub fn blend(&mut self, from: f32, factor: f32) {
        for lanes in [&mut self.red, &mut self.green, &mut self.blue] {
            for value in lanes {
                *value = blended(from, *value, factor);
            }
        }
    }

    /// Each pixel on the line from its own grey through it.
    #[inline(always)]
    pub fn saturate(&mut self, factor: f32) {
        for i in 0..PIXELS {
            let from = grey(self.red[i], self.green[i], self.blue[i]);
            self.red[i] = blended(from, self.red[i], factor);
            self.green[i] = blended(from, self.green[i], factor);
            self.blue[i] = blended(from, self.blue[i], factor);
        }
    }

    /// Each pixel's grey in place of it.
    #[inline(always)]
    pub fn grey(&mut self) {
        for i in 0..PIXELS {
            let level = grey(self.red[i], self.green[i], self.blue[i]);
            (self.red[i], self.green[i], self.blue[i]) = (level, level, level);
        }
    }

    /// The sum of the pixels' greys.
    #[inline(always)]
    pub fn grey_sum(&self) -> u64 {
        let mut greys = [0u32; PIXELS];
        for (i, level) in greys.iter_mut().enumerate() {
            *level = (grey(self.red[i], self.green[i], self.blue[i]) + LOW_BYTE).to_bits() & 0xFF;
        }
        u64::from(greys.iter().sum::<u32>())
    }
}

// loops, not `map`: a standard function that is not inlined would be compiled for the baseline

#[inline(always)]
fn widen(levels: &[u8; PIXELS]) -> Lanes {
    let mut lanes = [0.0; PIXELS];
    for i in 0..PIXELS {
        lanes[i] = f32::from(levels[i]);
    }
    lanes
}

#[inline(always)]
fn narrow(lanes: &Lanes) -> [u8; PIXELS] {
    let mut levels = [0; PIXELS];
    for i in 0..PIXELS {
        levels[i] = (lanes[i] + LOW_BYTE).to_bits() as u8;
    }
    levels
}

/// Pillow's grey: 16-bit fixed-point ITU-R 601 weights, rounded. Every term and sum is below 2^24: exact in `f32`.
#[inline(always)]
fn grey(red: f32, green: f32, blue: f32) -> f32 {
    ((red * 19_595.0 + green * 38_470.0 + blue * 7_471.0 + 32_768.0) * (1.0 / 65_536.0)).trunc()
}

/// Pillow's blend of two levels: `f32` arithmetic, clipped, cut to a whole level.
#[inline(always)]
fn blended(from: f32, value: f32, factor: f32) -> f32 {
    let level = from + factor * (value - from);
    // not f32::clamp, whose care for NaN costs two more instructions a value
    let level = if level > 0.0 { level } else { 0.0 };
    let level = if level < 255.0 { level } else { 255.0 };
    level.trunc()
}
