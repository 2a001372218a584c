//! Gaussian blur as Pillow does it: three box blurs of fractional radius a direction (Gwosdek et al. 2011).

use super::crop::Scratch;
use crate::data::rgb::Rgb8;
use crate::data::wide::wide;

/// Box blurs in each direction.
const PASSES: usize = 3;

/// What the blur keeps from picture to picture.
#[derive(Default)]
pub struct Buffers {
    /// Two lines with room for a replicated border, and a second picture.
    line: Vec<u8>,
    smooth: Vec<u8>,
    plane: Vec<u8>,
}

/// A box of fractional radius in 8.24 fixed point: weight of the inner taps and of the two at the ends.
#[derive(Clone, Copy, Debug)]
pub struct BoxKernel {
    /// Whole part of the radius: 2 radius + 1 inner taps.
    pub radius: usize,
    pub inner: u32,
    pub end: u32,
}

impl BoxKernel {
    /// The boxes of [`gaussian_blur`]; none where it changes nothing.
    pub fn of_blur(deviation: f64) -> Option<Self> {
        // larger radii than any side blur everything to one color; the bound keeps the arithmetic in range
        let deviation = deviation.min(1000.0);
        (deviation > 0.0).then(|| Self::of(deviation))
    }

    /// The box that, applied [`PASSES`] times, has the variance of a Gaussian of this deviation (in pixels).
    fn of(deviation: f64) -> Self {
        let deviation = deviation as f32;
        let variance = deviation * deviation / PASSES as f32;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let whole = ((length - 1.0) / 2.0).floor();
        let next = (whole + 1.0) * (whole + 1.0);
        let part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance) / (6.0 * (variance - next));
        Self::with_radius(whole + part)
    }

    fn with_radius(radius: f32) -> Self {
        let whole = radius as usize;
        let inner = ((1u32 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
        let end = ((1u32 << 24).saturating_sub((2 * whole as u32 + 1) * inner)) / 2;
        BoxKernel { radius: whole, inner, end }
    }

    /// Pixels that the box reaches to each side.
    fn reach(self) -> usize {
        self.radius + 1
    }

    #[inline(always)]
    fn weigh(self, inner: u32, ends: u32) -> u8 {
        ((inner * self.inner + ends * self.end + (1 << 23)) >> 24) as u8
    }
}

/// Blurs with a Gaussian of standard deviation `radius` pixels, in place (Pillow's `GaussianBlur(radius)`, bit for
/// bit). A radius that is not above 0 changes nothing.
pub fn gaussian_blur(image: &mut Rgb8, radius: f64, scratch: &mut Scratch) {
    let Some(kernel) = BoxKernel::of_blur(radius).filter(|_| !image.pixels.is_empty()) else { return };
    let buffers = &mut scratch.blur;
    wide(
        #[inline(always)]
        || rows(image, kernel, buffers),
    );
    buffers.plane.resize(image.pixels.len(), 0);
    for _ in 0..PASSES {
        wide(
            #[inline(always)]
            || columns(&image.pixels, &mut buffers.plane, image.height, kernel),
        );
        std::mem::swap(&mut image.pixels, &mut buffers.plane);
    }
}

/// All passes along every row.
#[inline(always)]
fn rows(image: &mut Rgb8, kernel: BoxKernel, buffers: &mut Buffers) {
    let (length, border) = (image.width * 3, kernel.reach() * 3);
    buffers.line.resize(length + 2 * border, 0);
    buffers.smooth.resize(length, 0);
    let (line, smooth) = (&mut buffers.line[..length + 2 * border], &mut buffers.smooth[..length]);
    for row in image.pixels.chunks_exact_mut(length) {
        smooth.copy_from_slice(row);
        for pass in 0..PASSES {
            line[border..border + length].copy_from_slice(smooth);
            replicate(line, border);
            let out = if pass + 1 == PASSES { &mut *row } else { &mut *smooth };
            match kernel.radius {
                0 => box_line::<1>(line, out, kernel),
                1 => box_line::<3>(line, out, kernel),
                _ => box_line_any(line, out, kernel),
            }
        }
    }
}

/// Repeats the first and last pixel over the borders of a line.
#[inline(always)]
fn replicate(line: &mut [u8], border: usize) {
    let last = line.len() - border;
    for at in (0..border).step_by(3) {
        line.copy_within(border..border + 3, at);
        line.copy_within(last - 3..last, last + at);
    }
}

/// One box over a line of interleaved pixels, `TAPS` inner taps: neighbours are three bytes apart.
#[inline(always)]
fn box_line<const TAPS: usize>(line: &[u8], out: &mut [u8], kernel: BoxKernel) {
    let length = out.len();
    let taps: [&[u8]; TAPS] = std::array::from_fn(|tap| &line[3 * (tap + 1)..][..length]);
    box_rows(taps, &line[..length], &line[3 * (TAPS + 1)..][..length], out, kernel);
}

/// [`box_line`] of any radius, by a running sum.
#[inline(always)]
fn box_line_any(line: &[u8], out: &mut [u8], kernel: BoxKernel) {
    let taps = 2 * kernel.radius + 1;
    for channel in 0..3 {
        let at = |pixel: usize| u32::from(line[3 * pixel + channel]);
        let mut inner: u32 = (1..=taps).map(at).sum();
        for pixel in 0..out.len() / 3 {
            let last = at(pixel + taps + 1);
            out[3 * pixel + channel] = kernel.weigh(inner, at(pixel) + last);
            inner = inner + last - at(pixel + 1);
        }
    }
}

/// One pass along every column.
#[inline(always)]
fn columns(pixels: &[u8], out: &mut [u8], height: usize, kernel: BoxKernel) {
    let length = pixels.len() / height;
    let row = |y: isize| &pixels[y.clamp(0, height as isize - 1) as usize * length..][..length];
    for (y, out) in out.chunks_exact_mut(length).enumerate() {
        let (y, reach) = (y as isize, kernel.reach() as isize);
        let (first, last) = (row(y - reach), row(y + reach));
        match kernel.radius {
            0 => box_rows([row(y)], first, last, out, kernel),
            1 => box_rows([row(y - 1), row(y), row(y + 1)], first, last, out, kernel),
            _ => {
                for (i, out) in out.iter_mut().enumerate() {
                    let inner = (1 - reach..reach).map(|d| u32::from(row(y + d)[i])).sum();
                    *out = kernel.weigh(inner, u32::from(first[i]) + u32::from(last[i]));
                }
            }
        }
    }
}

/// Values that are weighed at once.
const CHUNK: usize = 64;

/// One line: weighs the inner taps and the two ends, each a line of as many values as `out`.
#[inline(always)]
fn box_rows<const TAPS: usize>(
    taps: [&[u8]; TAPS],
    first: &[u8],
    last: &[u8],
    out: &mut [u8],
    kernel: BoxKernel,
) {
    let mut at = 0;
    while at < out.len() {
        if out.len() >= CHUNK {
            // the last chunk is moved back to end with the line, and does some values again
            at = at.min(out.len() - CHUNK);
            box_chunk::<TAPS, CHUNK>(taps, first, last, out, at, kernel);
            at += CHUNK;
        } else {
            box_chunk::<TAPS, 1>(taps, first, last, out, at, kernel);
            at += 1;
        }
    }
}

/// `N` values of a line.
#[inline(always)]
fn box_chunk<const TAPS: usize, const N: usize>(
    taps: [&[u8]; TAPS],
    first: &[u8],
    last: &[u8],
    out: &mut [u8],
    at: usize,
    kernel: BoxKernel,
) {
    // through locals: the compiler cannot know that lines and output do not overlap
    let local = |line: &[u8]| {
        let mut values = [0u8; N];
        values.copy_from_slice(&line[at..at + N]);
        values
    };
    let (first, last) = (local(first), local(last));
    let mut inner = [0u16; N];
    for tap in taps {
        let tap = local(tap);
        for i in 0..N {
            inner[i] += u16::from(tap[i]);
        }
    }
    let mut weighed = [0u8; N];
    for i in 0..N {
        let ends = u16::from(first[i]) + u16::from(last[i]);
        weighed[i] = kernel.weigh(u32::from(inner[i]), u32::from(ends));
    }
    out[at..at + N].copy_from_slice(&weighed);
}

#[cfg(test)]
mod tests;
