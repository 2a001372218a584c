//! Features of pictures in their own proportions, as `eval_image_retrieval.py` takes them: the longer side brought down to a size, one picture
//! in the network at once, CLS of the last layer; optionally the mean over three scales.

use dfdx::prelude::Cpu;

use crate::data::Rgb8;
use crate::data::augment::{Scratch, resized};
use crate::error::Error;
use crate::eval::subject::Subject;
use crate::eval::video::resample::bilinear;
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

/// The picture with its longer side at most `longer`, in proportion, bicubic; smaller pictures stay as they are.
pub fn fitted(picture: &Rgb8, longer: usize) -> Rgb8 {
    let (height, width) = (picture.height, picture.width);
    let most = height.max(width);
    if most <= longer {
        return picture.clone();
    }
    let side = |side: usize| ((side * longer) as f64 / most as f64).round().max(1.0) as usize;
    resized(picture, (side(height), side(width)), &mut Scratch::default())
}

/// The upper left part whose sides are multiples of the patch: a network leaves the rest out. A side below the patch is filled up in black.
fn whole_patches(picture: &Rgb8, patch: usize) -> Rgb8 {
    let side = |side: usize| (side / patch).max(1) * patch;
    Rgb8::from_fn(side(picture.height), side(picture.width), |y, x| {
        if y < picture.height && x < picture.width { picture.pixel(y, x) } else { [0; 3] }
    })
}

/// The mean of a picture's CLS over scales, brought to unit length.
///
/// # Errors
/// When the device fails.
pub fn features(subject: &Subject<Cpu>, picture: &Rgb8, scales: &[f64]) -> Result<Vec<f32>, Error> {
    let patch = subject.spec.backbone.patch().max(1);
    let mut sums = vec![0.0f64; subject.network.width()];
    for &scale in scales {
        let side = |side: usize| ((side as f64 * scale).floor() as usize).max(1);
        let scaled = match scale == 1.0 {
            true => whole_patches(picture, patch),
            false => whole_patches(&bilinear(picture, (side(picture.height), side(picture.width))), patch),
        };
        let size = (scaled.height, scaled.width);
        let answer = subject.judged().answer(
            &Cpu::default(),
            subject.view.normalized(&scaled),
            size,
            Asked::default(),
        );
        let cls = answer.map_err(|e| Error::Failed(e.to_string()))?.cls;
        let cls = cls.to_host().map_err(|e| Error::Failed(format!("{e:?}")))?;
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
        assert_eq!(size(whole_patches(&picture, 16)), (16, 48));
        let small = whole_patches(&Rgb8::from_fn(3, 5, |_, _| [9; 3]), 4);
        assert_eq!((size(small.clone()), small.pixel(2, 3), small.pixel(3, 0)), ((4, 4), [9; 3], [0; 3]));
    }
}
