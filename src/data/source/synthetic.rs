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
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::data::wide::wide;

    fn open(count: usize, split: Split) -> Synthetic {
        Synthetic::open(&SyntheticParams { count, split, ..Default::default() }).unwrap()
    }

    #[test]
    fn pictures_are_a_function_of_their_index_and_never_repeat() {
        let (train, val) = (open(300, Split::Train), open(300, Split::Val));
        assert_eq!(train.draw(17), open(20, Split::Train).draw(17));
        let all = (0..300).flat_map(|i| [train.draw(i), val.draw(i)]);
        assert_eq!(all.map(|p| p.pixels).collect::<HashSet<_>>().len(), 600);
        assert_eq!((train.label(9), train.label(300)), (Some(1), None));
        assert!(matches!(train.read(300), Err(SourceError::Index { .. })));
    }

    #[test]
    fn tones_are_near_grey_and_span_the_levels() {
        let source = open(200, Split::Train);
        let mut tint = 0.0;
        let mut seen = HashSet::new();
        for i in 0..200 {
            for pixel in source.draw(i).pixels.chunks(3) {
                let (most, least) = (pixel.iter().max().unwrap(), pixel.iter().min().unwrap());
                tint += f64::from(most - least) / (200.0 * 1024.0);
                seen.insert(pixel[0] / 16);
            }
        }
        assert!((2.0..25.0).contains(&tint), "{tint}");
        assert_eq!(seen.len(), 16);
    }

    #[test]
    fn any_size_is_drawn_and_nonsense_is_refused() {
        for size in [1, 2, 31, 96] {
            let params = SyntheticParams { size, classes: 10, ..Default::default() };
            let source = Synthetic::open(&params).unwrap();
            (0..10).for_each(|i| assert_eq!(source.draw(i).pixels.len(), size * size * 3));
        }
        for (params, expected) in [
            (SyntheticParams { count: 0, ..Default::default() }, "count must be 1"),
            (SyntheticParams { size: 0, ..Default::default() }, "size must be 1"),
            (SyntheticParams { classes: 11, ..Default::default() }, "classes must be 1 to 10, not 11"),
        ] {
            let error = Synthetic::open(&params).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// Pixels around mid grey, as a unit vector.
    fn feature(picture: Rgb8) -> Vec<f32> {
        let x: Vec<f32> = picture.pixels.iter().map(|&v| f32::from(v) - 115.0).collect();
        let norm = x.iter().map(|v| v * v).sum::<f32>().sqrt();
        x.into_iter().map(|v| v / norm).collect()
    }

    fn inner(x: &[f32], y: &[f32]) -> f32 {
        wide(
            #[inline(always)]
            || {
                let mut sums = [0f32; 32];
                for (x, y) in x.as_chunks::<32>().0.iter().zip(y.as_chunks::<32>().0) {
                    (0..32).for_each(|i| sums[i] += x[i] * y[i]);
                }
                sums.iter().sum()
            },
        )
    }

    /// Accuracy in percent of the paper's 20-NN on raw pixels (votes weighted by exp(similarity / 0.07)).
    fn raw_pixel_knn(train: &Synthetic, val: &Synthetic) -> f64 {
        let bank: Vec<_> = (0..train.len()).map(|i| feature(train.draw(i))).collect();
        let right = (0..val.len()).filter(|&query| {
            let x = feature(val.draw(query));
            let mut near: Vec<(f32, usize)> = bank.iter().map(|y| inner(&x, y)).zip(0..).collect();
            near.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
            let mut votes = [0f32; FAMILIES.len()];
            near[..20].iter().for_each(|(s, i)| votes[i % train.params.classes] += (s / 0.07).exp());
            let winner = (0..votes.len()).max_by(|&a, &b| votes[a].total_cmp(&votes[b]));
            winner == Some(query % val.params.classes)
        });
        100.0 * right.count() as f64 / val.len() as f64
    }

    #[test]
    fn raw_pixels_tell_something_but_not_much() {
        let accuracy = raw_pixel_knn(&open(4000, Split::Train), &open(400, Split::Val));
        println!("raw pixels, 20-NN: {accuracy:.1} %");
        // chance is 12.5 %; the pictures must neither hide their class from pixels nor give it away
        assert!((27.0..46.0).contains(&accuracy), "{accuracy} %");
    }
}
