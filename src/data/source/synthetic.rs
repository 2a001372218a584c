//! Drawn pictures: no download, any number, any size, with classes that a network can learn in minutes.
//!
//! The class is the family of pattern, which every crop shows. Everything else varies from picture to picture: phase,
//! angle, scale, weight, tones, polarity, lighting, noise. Tones are near grey on purpose: with saturated random
//! colors a network that matches crops learns to tell colors, not patterns.

use serde::{Deserialize, Serialize};

use super::pattern::{FAMILIES, Pattern};
use super::{Images, Raw, SourceError};
use crate::data::rgb::Rgb8;
use crate::keyed::Key;

/// Which pictures: training and validation never share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Split {
    #[default]
    Train,
    Val,
}

/// What a [`Synthetic`] source draws.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticParams {
    /// Number of pictures.
    pub count: usize,
    /// Height and width of each, in pixels.
    pub size: usize,
    /// Number of families; picture `i` is of class `i % classes`.
    pub classes: usize,
    /// Other seeds draw other pictures.
    pub seed: u64,
    /// Training or validation pictures.
    pub split: Split,
}

impl Default for SyntheticParams {
    fn default() -> Self {
        SyntheticParams { count: 4096, size: 32, classes: 8, seed: 0, split: Split::Train }
    }
}

/// Pictures drawn when they are read, each a function of (seed, split, index, size).
#[derive(Clone, Debug)]
pub struct Synthetic {
    params: SyntheticParams,
    classes: Vec<String>,
}

impl Synthetic {
    /// Checks the parameters; nothing is drawn yet.
    ///
    /// # Errors
    /// When there would be no picture, no class, more classes than families, or sides out of range.
    pub fn open(params: &SyntheticParams) -> Result<Self, SourceError> {
        let need = |field, value: usize, low: usize, high: usize| {
            let expected = format!("{low} to {high}");
            let fault = SourceError::Parameter { field, expected, found: value.to_string() };
            if (low..=high).contains(&value) { Ok(()) } else { Err(fault) }
        };
        need("count", params.count, 1, u32::MAX as usize)?;
        need("size", params.size, 1, 4096)?;
        need("classes", params.classes, 1, FAMILIES.len())?;
        let classes = FAMILIES[..params.classes].iter().map(|name| (*name).to_owned()).collect();
        Ok(Synthetic { params: params.clone(), classes })
    }

    /// Picture `index`: (size, size).
    pub fn draw(&self, index: usize) -> Rgb8 {
        let split = match self.params.split {
            Split::Train => "train",
            Split::Val => "val",
        };
        let key = Key::new(self.params.seed).named("synthetic").named(split).with(index as u64);
        let size = self.params.size;
        let coverage = Pattern::draw(index % self.params.classes, size, key).coverage(size);
        Paint::draw(size, key).fill(&coverage, key)
    }
}

/// The tones of one picture.
struct Paint {
    size: usize,
    /// Red, green and blue of ground and figure, from 0 to 1.
    ground: [f32; 3],
    figure: [f32; 3],
    /// Change of the light over the picture: (from top to bottom, from left to right).
    light: (f32, f32),
    noise: f32,
}

impl Paint {
    fn draw(size: usize, key: Key) -> Self {
        let mut draws = key.named("paint").draws();
        let (middle, apart) = (draws.uniform(0.42, 0.58), draws.uniform(0.25, 0.6));
        let sign = if draws.chance(0.5) { 0.5 } else { -0.5 };
        let mut tone = |level: f64| std::array::from_fn(|_| (level + draws.uniform(-0.03, 0.03)) as f32);
        let (ground, figure) = (tone(middle - sign * apart), tone(middle + sign * apart));
        let (angle, slope) = (draws.uniform(0.0, std::f64::consts::TAU), draws.uniform(0.0, 0.3));
        let light = ((angle.sin() * slope) as f32, (angle.cos() * slope) as f32);
        Paint { size, ground, figure, light, noise: draws.uniform(0.005, 0.05) as f32 }
    }

    /// The picture of a pattern's coverage.
    fn fill(&self, coverage: &[f32], key: Key) -> Rgb8 {
        let mut picture = Rgb8::new(self.size, self.size);
        let mut noise = key.named("noise").draws();
        let pixels = picture.pixels.as_chunks_mut::<3>().0;
        for (at, (pixel, &covered)) in pixels.iter_mut().zip(coverage).enumerate() {
            let (y, x) = ((at / self.size) as f32, (at % self.size) as f32);
            let place = |t: f32| (t + 0.5) / self.size as f32 - 0.5;
            let light = 1.0 + self.light.0 * place(y) + self.light.1 * place(x);
            let mut bits = noise.bits();
            for (channel, value) in pixel.iter_mut().enumerate() {
                let tone = self.ground[channel] + covered * (self.figure[channel] - self.ground[channel]);
                let level = tone * light + self.noise * bell(&mut bits);
                *value = (level * 255.0 + 0.5) as u8;
            }
        }
        picture
    }
}

/// Nearly normal with unit deviation, from 21 random bits: three of seven bits each, summed.
fn bell(bits: &mut u64) -> f32 {
    let mut sum = 0;
    for _ in 0..3 {
        sum += *bits as u32 & 127;
        *bits >>= 7;
    }
    (sum as f32 - 190.5) * (1.0 / 64.0)
}

impl Images for Synthetic {
    fn len(&self) -> usize {
        self.params.count
    }

    fn name(&self, index: usize) -> String {
        format!("synthetic {:?} {index}", self.params.split)
    }

    fn label(&self, index: usize) -> Option<u32> {
        (index < self.params.count).then_some((index % self.params.classes) as u32)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn read(&self, index: usize) -> Result<Raw, SourceError> {
        if index >= self.params.count {
            return Err(SourceError::Index { index, len: self.params.count });
        }
        Ok(Raw::Drawn(self.draw(index)))
    }
}

#[cfg(test)]
mod tests;
