//! Features of pictures in their own proportions, as `eval_image_retrieval.py` takes them: the longer side brought down to a size, one picture
//! in the network at once, CLS of the last layer; optionally the mean over three scales.

use crate::data::Rgb8;
use crate::data::augment::{Interpolation, Scratch, resized};
use crate::error::Error;
use crate::eval::subject::Subject;
use crate::eval::video::resample::taps;
use crate::nn::network::Asked;

/// The scales whose features are averaged: 1, 1/√2, 1/2.
pub const SCALES: [f64; 3] = [1.0, std::f64::consts::FRAC_1_SQRT_2, 0.5];

/// A part of a picture: left, top, right, bottom in its pixels, rounded and cut to the picture's border.
pub fn part(picture: &Rgb8, [left, top, right, bottom]: [f64; 4]) -> Rgb8 {
    let within = |at: f64, most: usize| at.round_ties_even().clamp(0.0, most as f64) as usize;
    let (x0, x1) = (within(left, picture.width), within(right, picture.width));
    let (y0, y1) = (within(top, picture.height), within(bottom, picture.height));
    Rgb8::from_fn(y1.saturating_sub(y0), x1.saturating_sub(x0), |y, x| picture.pixel(y0 + y, x0 + x))
}

/// The picture with its longer side at most `longer`, by Pillow's `thumbnail`: Lanczos, the other side such that the proportions change least;
/// smaller pictures stay as they are. (Pillow first shrinks by whole pixels where the picture is more than twice as large; that is left out.)
pub fn fitted(picture: &Rgb8, longer: usize) -> Rgb8 {
    let (height, width) = (picture.height, picture.width);
    if picture.pixels.is_empty() || height.max(width) <= longer {
        return picture.clone();
    }
    let (most, aspect) = (longer as f64, width as f64 / height as f64);
    let out = match width > height {
        true => (nearest(most / aspect, |side| (aspect - most / side).abs()), longer),
        false => (longer, nearest(most * aspect, |side| (aspect - side / most).abs())),
    };
    resized(picture, out, Interpolation::Lanczos, &mut Scratch::default())
}

/// Of the whole numbers around `exact` the one that is less `off`, of equals the smaller one; at least 1.
fn nearest(exact: f64, off: impl Fn(f64) -> f64) -> usize {
    let (below, above) = (exact.floor(), exact.ceil());
    if off(above) < off(below) { above.max(1.0) as usize } else { below.max(1.0) as usize }
}

/// A part of a picture at the size that it has where the whole picture is [`fitted`], as the published protocol of revisited Oxford and Paris
/// shows its queries: a part keeps the scale of the picture that it is of.
pub fn fitted_part(whole: &Rgb8, region: [f64; 4], longer: usize) -> Rgb8 {
    let part = part(whole, region);
    let (own, all) = (part.height.max(part.width), whole.height.max(whole.width).max(1));
    fitted(&part, (longer * own / all).max(1))
}

/// A normalised picture, (3, height, width).
struct Planes {
    numbers: Vec<f32>,
    size: (usize, usize),
}

impl Planes {
    /// At `scale` times the size as PyTorch's `interpolate(scale_factor=scale, mode="bilinear")` does it: sides are cut to whole numbers, places
    /// are not, and nothing is smoothed first.
    fn scaled(&self, scale: f64) -> Planes {
        let (height, width) = self.size;
        let side = |side: usize| ((side as f64 * scale).floor() as usize).max(1);
        let (rows, columns) =
            (taps(height, side(height), 1.0 / scale), taps(width, side(width), 1.0 / scale));
        let of = |plane: &[f32]| -> Vec<f32> {
            let at = |y: usize, x: usize| plane[y * width + x];
            let between = |&(y0, y1, fy): &(usize, usize, f32), &(x0, x1, fx): &(usize, usize, f32)| {
                let (above, below) = (
                    at(y0, x0) + fx * (at(y0, x1) - at(y0, x0)),
                    at(y1, x0) + fx * (at(y1, x1) - at(y1, x0)),
                );
                above + fy * (below - above)
            };
            rows.iter()
                .flat_map(|row| columns.iter().map(|column| between(row, column)).collect::<Vec<_>>())
                .collect()
        };
        let numbers = self.numbers.chunks_exact((height * width).max(1)).flat_map(of).collect();
        Planes { numbers, size: (rows.len(), columns.len()) }
    }

    /// The upper left part whose sides are multiples of the patch: a network leaves the rest out. A side below the patch is filled up with
    /// the mean colour.
    fn whole_patches(&self, patch: usize) -> Planes {
        let (height, width) = self.size;
        let side = |side: usize| (side / patch).max(1) * patch;
        let size = (side(height), side(width));
        let mut numbers = vec![0.0; 3 * size.0 * size.1];
        let lines = numbers.chunks_exact_mut(size.1).enumerate();
        for (at, line) in lines.filter(|(at, _)| at % size.0 < height) {
            let from = (at / size.0 * height + at % size.0) * width;
            let count = size.1.min(width);
            line[..count].copy_from_slice(&self.numbers[from..from + count]);
        }
        Planes { numbers, size }
    }
}

/// The mean of a picture's CLS over scales, brought to unit length.
///
/// # Errors
/// When the device fails.
pub fn features(subject: &Subject, picture: &Rgb8, scales: &[f64]) -> Result<Vec<f32>, Error> {
    let patch = subject.spec.backbone.patch().max(1);
    let whole = Planes { numbers: subject.view.normalized(picture), size: (picture.height, picture.width) };
    let mut sums = vec![0.0f64; subject.width()];
    for &scale in scales {
        let shown = match scale == 1.0 {
            true => whole.whole_patches(patch),
            false => whole.scaled(scale).whole_patches(patch),
        };
        let cls = subject.answer(shown.numbers, shown.size, Asked::default())?.cls;
        sums.iter_mut().zip(cls).for_each(|(sum, x)| *sum += f64::from(x));
    }
    let norm = sums.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
    Ok(sums.into_iter().map(|x| (x / norm) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_sizes() {
        let picture = Rgb8::from_fn(30, 60, |y, x| [y as u8, x as u8, 0]);
        let cut = part(&picture, [10.4, -3.0, 20.5, 99.0]);
        assert_eq!((cut.height, cut.width, cut.pixel(0, 0)), (30, 10, [0, 10, 0]));
        assert_eq!(part(&picture, [50.0, 5.0, 40.0, 9.0]).width, 0);
        let size = |picture: Rgb8| (picture.height, picture.width);
        assert_eq!(size(fitted(&picture, 40)), (20, 40));
        assert_eq!(fitted(&picture, 60), picture);
        assert_eq!(size(fitted(&Rgb8::new(1, 500), 40)), (1, 40));
    }

    #[test]
    fn sides_are_those_of_pillows_thumbnails() {
        for ((width, height), longer, expected) in [
            ((1000, 333), 224, (224, 75)),
            ((768, 1024), 224, (168, 224)),
            ((1024, 683), 224, (224, 149)),
            ((1024, 685), 224, (224, 150)),
            ((225, 224), 224, (224, 223)),
        ] {
            let found = fitted(&Rgb8::new(height, width), longer);
            assert_eq!((found.width, found.height), expected, "{width} x {height}");
        }
    }

    #[test]
    fn a_part_keeps_the_scale_of_its_picture() {
        let whole = Rgb8::new(600, 1000);
        // an eighth of the whole picture's size, 1000 to 125
        for (region, expected) in [
            ([0.0, 0.0, 1000.0, 600.0], (75, 125)),
            ([100.0, 100.0, 900.0, 500.0], (50, 100)),
            ([0.0, 0.0, 80.0, 160.0], (20, 10)),
        ] {
            let found = fitted_part(&whole, region, 125);
            assert_eq!((found.height, found.width), expected, "{region:?}");
        }
        let small = fitted_part(&Rgb8::new(60, 100), [0.0, 0.0, 50.0, 60.0], 125);
        assert_eq!((small.height, small.width), (60, 50));
        assert!(fitted_part(&whole, [50.0, 5.0, 40.0, 999.0], 125).pixels.is_empty());
    }

    #[test]
    fn scales_are_pytorchs_and_patches_whole() {
        let planes = Planes { numbers: (0..60).map(|i| (i * i % 37) as f32).collect(), size: (4, 5) };
        let half = planes.scaled(0.5);
        assert_eq!(half.size, (2, 2));
        // places 0.5 and 2.5, though 5 over 2 columns would be 0.75 and 3.25
        let mean = |y: usize, x: usize| {
            [(0, 0), (0, 1), (1, 0), (1, 1)]
                .iter()
                .map(|(dy, dx)| planes.numbers[(y + dy) * 5 + x + dx])
                .sum::<f32>()
                / 4.0
        };
        assert_eq!(half.numbers[..4], [mean(0, 0), mean(0, 2), mean(2, 0), mean(2, 2)]);
        let cut = planes.whole_patches(2);
        // the first plane's last number, then the second plane's first
        assert_eq!(
            (cut.size, cut.numbers[15], cut.numbers[16]),
            ((4, 4), planes.numbers[18], planes.numbers[20])
        );
        let filled = planes.whole_patches(8);
        assert_eq!(
            (filled.size, filled.numbers[8 * 3 + 4], filled.numbers[8 * 3 + 5], filled.numbers[8 * 4]),
            ((8, 8), planes.numbers[19], 0.0, 0.0)
        );
    }
}
