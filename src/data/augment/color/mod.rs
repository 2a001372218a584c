//! Color jitter and grey: Pillow's 8-bit arithmetic, several operations in one pass over the pixels.
//!
//! Every operation ends on whole levels, which `f32` holds exactly, so a block of pixels stays in `f32` lanes from
//! the first operation to the last. Only contrast needs the whole picture first (its mean), so the operations
//! before it are one pass, and it and those after it the next.

mod block;
mod hue;

use block::{Block, PIXELS};
use serde::{Deserialize, Serialize};

use crate::data::rgb::Rgb8;
use crate::data::wide::wide;

/// One operation on colors, with its factor; 1 changes nothing where a factor multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Color {
    /// Towards black (below 1) or away from it.
    Brightness(f64),
    /// Towards the picture's mean grey (below 1) or away from it.
    Contrast(f64),
    /// Towards each pixel's own grey (below 1) or away from it.
    Saturation(f64),
    /// Turns the hue by this share of the circle, -0.5 to 0.5.
    Hue(f64),
    /// Replaces each pixel by its grey.
    Grayscale,
}

/// What a pass does to each pixel: [`Color`] with the picture's mean filled in.
#[derive(Clone, Copy, Debug)]
enum Step {
    Blend { from: f32, factor: f32 },
    Saturate { factor: f32 },
    Turn { by: u8 },
    Grey,
}

impl Step {
    fn of(color: Color, mean: f32) -> Self {
        match color {
            Color::Brightness(factor) => Step::Blend { from: 0.0, factor: factor as f32 },
            Color::Contrast(factor) => Step::Blend { from: mean, factor: factor as f32 },
            Color::Saturation(factor) => Step::Saturate { factor: factor as f32 },
            Color::Hue(share) => Step::Turn { by: turned_by(share) },
            Color::Grayscale => Step::Grey,
        }
    }

    #[inline(always)]
    fn apply(self, block: &mut Block) {
        match self {
            Step::Blend { from, factor } => block.blend(from, factor),
            Step::Saturate { factor } => block.saturate(factor),
            Step::Turn { by } => hue::turn(block, by),
            Step::Grey => block.grey(),
        }
    }
}

/// A share of the circle in 256 parts. torchvision turns a byte: the shift is cut to a whole level, and -1 wraps to 255.
pub fn turned_by(share: f64) -> u8 {
    (share * 255.0) as i32 as u8
}

/// Applies operations in their order, in place.
pub fn adjust(image: &mut Rgb8, operations: &[Color]) {
    let mut rest = operations;
    let mut steps: Vec<Step> = Vec::with_capacity(operations.len());
    while let Some(at) = rest.iter().position(|c| matches!(c, Color::Contrast(_))) {
        steps.extend(rest[..at].iter().map(|&c| Step::of(c, 0.0)));
        let sum = wide(
            #[inline(always)]
            || pass::<true>(&mut image.pixels, &steps),
        );
        steps.clear();
        steps.push(Step::of(rest[at], mean(sum, image.height * image.width)));
        rest = &rest[at + 1..];
    }
    steps.extend(rest.iter().map(|&c| Step::of(c, 0.0)));
    if !steps.is_empty() {
        wide(
            #[inline(always)]
            || pass::<false>(&mut image.pixels, &steps),
        );
    }
}

/// The mean grey as Pillow's `ImageEnhance.Contrast` rounds it.
fn mean(sum: u64, pixels: usize) -> f32 {
    (sum as f64 / pixels.max(1) as f64 + 0.5).floor() as f32
}

/// Runs the steps over all pixels; with `SUM`, returns the sum of the greys that come out.
#[inline(always)]
fn pass<const SUM: bool>(pixels: &mut [u8], steps: &[Step]) -> u64 {
    let mut sum = 0;
    let (blocks, tail) = pixels.as_chunks_mut::<{ 3 * PIXELS }>();
    for bytes in blocks {
        sum += block_pass::<SUM>(bytes, steps);
    }
    if !tail.is_empty() {
        let mut bytes = [0; 3 * PIXELS];
        bytes[..tail.len()].copy_from_slice(tail);
        // the block is filled up with black pixels, and what becomes of them is taken off the sum again
        let padding = PIXELS - tail.len() / 3;
        sum += block_pass::<SUM>(&mut bytes, steps);
        if SUM {
            sum -= grey_of_black(steps) * padding as u64;
        }
        tail.copy_from_slice(&bytes[..tail.len()]);
    }
    sum
}

/// The grey that the steps make of a black pixel.
fn grey_of_black(steps: &[Step]) -> u64 {
    let mut bytes = [0; 3 * PIXELS];
    block_pass::<true>(&mut bytes, steps) / PIXELS as u64
}

#[inline(always)]
fn block_pass<const SUM: bool>(bytes: &mut [u8; 3 * PIXELS], steps: &[Step]) -> u64 {
    let mut block = Block::load(bytes);
    for &step in steps {
        step.apply(&mut block);
    }
    if !(SUM && steps.is_empty()) {
        block.store(bytes);
    }
    if SUM { block.grey_sum() } else { 0 }
}

/// Multiplies every value by `factor` and cuts to whole levels (`ImageEnhance.Brightness`).
pub fn brightness(image: &mut Rgb8, factor: f64) {
    adjust(image, &[Color::Brightness(factor)]);
}

/// Moves every value away from the picture's mean grey by `factor` (`ImageEnhance.Contrast`).
pub fn contrast(image: &mut Rgb8, factor: f64) {
    adjust(image, &[Color::Contrast(factor)]);
}

/// Moves every pixel away from its own grey by `factor` (`ImageEnhance.Color`).
pub fn saturation(image: &mut Rgb8, factor: f64) {
    adjust(image, &[Color::Saturation(factor)]);
}

/// Turns every pixel's hue by `share` of the circle, through 8-bit HSV (torchvision's `adjust_hue`).
pub fn hue(image: &mut Rgb8, share: f64) {
    adjust(image, &[Color::Hue(share)]);
}

/// Replaces every pixel by its ITU-R 601 grey.
pub fn grayscale(image: &mut Rgb8) {
    adjust(image, &[Color::Grayscale]);
}

#[cfg(test)]
mod tests;
