//! Features of training pictures that are cut and mirrored at random, as the published linear protocol shows them: random resized crops of 8 to
//! 100 % of the picture (torchvision's default), mirrored every other time. Every draw is keyed by seed, epoch and picture.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use crate::data::augment::{MultiCropSpec, Scratch, ViewSpec, apply, draw};
use crate::data::source::Images;
use crate::error::Error;
use crate::eval::classifier::Rows;
use crate::eval::features::{Wanted, picture};
use crate::eval::subject::Subject;
use crate::keyed::Key;

/// What may happen to a training picture that is shown at `size` pixels.
pub fn view(size: usize) -> ViewSpec {
    let spec = MultiCropSpec { global_size: size, global_scale: (0.08, 1.0), ..MultiCropSpec::default() };
    ViewSpec { jitter: 0.0, grayscale: 0.0, blur: 0.0, solarize: 0.0, ..spec.view(0) }
}

/// Features and labels of some of a source's labelled pictures as `seed` and `epoch` cut them, so many in the network at once. Those that
/// can't be read are left out.
///
/// # Errors
/// When the device fails.
pub fn batch(
    subject: &Subject<Cpu>,
    images: &dyn Images,
    (wanted, at_once): (Wanted, usize),
    (seed, epoch): (u64, u64),
    which: &[usize],
) -> Result<Rows, Error> {
    let side = subject.view.crop;
    let (view, key) = (view(side), Key::new(seed).named("linear crop").with(epoch));
    let mut rows = Rows { dim: wanted.width(subject.network.width()), ..Rows::default() };
    for part in which.chunks(at_once.max(1)) {
        let one = |&index: &usize| {
            let (picture, label) = (picture(images, index, subject.view).ok()?, images.label(index)?);
            let drawn = draw(&view, key.with(index as u64), picture.height, picture.width);
            let crop = apply(&picture, &drawn, &mut Scratch::default());
            Some((subject.view.normalized(&crop), label))
        };
        let shown: Vec<Option<(Vec<f32>, u32)>> = part.par_iter().map(one).collect();
        let (pixels, labels): (Vec<Vec<f32>>, Vec<u32>) = shown.into_iter().flatten().unzip();
        if !labels.is_empty() {
            let seen = subject.judged().features(&Cpu::default(), pixels.concat(), side, wanted);
            rows.features.extend(seen.map_err(|e| Error::Failed(e.to_string()))?);
            rows.labels.extend(labels);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_are_torchvisions_default_and_nothing_else_happens() {
        let view = view(32);
        let drawn: Vec<_> = (0..4000).map(|i| draw(&view, Key::new(1).with(i), 100, 100)).collect();
        assert!(
            drawn
                .iter()
                .all(|d| d.size == 32 && d.colors.is_empty() && d.blur.is_none() && d.solarize.is_none())
        );
        let share = |d: &crate::data::augment::ViewDraw| (d.height * d.width) as f64 / 1e4;
        assert!(drawn.iter().any(|d| share(d) < 0.12) && drawn.iter().any(|d| share(d) > 0.9));
        let mirrored = drawn.iter().filter(|d| d.flip).count() as f64 / 4000.0;
        assert!((mirrored - 0.5).abs() < 0.03, "{mirrored}");
    }
}
