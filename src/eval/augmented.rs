//! Training pictures that are cut and mirrored at random, as probes show them: random resized crops of 8 to 100 % of the picture (torchvision's
//! default), mirrored every other time. Every draw is keyed by seed, epoch and picture.

use rayon::prelude::*;

use super::features::picture;
use super::view::View;
use crate::data::augment::{MultiCropSpec, Scratch, ViewSpec, apply, draw};
use crate::data::source::Images;
use crate::keyed::Key;

/// What may happen to a training picture that is shown at `size` pixels; `jitter` is how far brightness, contrast and saturation may go.
pub fn spec(size: usize, jitter: f64) -> ViewSpec {
    let spec = MultiCropSpec { global_size: size, global_scale: (0.08, 1.0), ..MultiCropSpec::default() };
    ViewSpec {
        jitter: f64::from(u8::from(jitter > 0.0)),
        brightness: jitter,
        contrast: jitter,
        saturation: jitter,
        hue: 0.0,
        grayscale: 0.0,
        blur: 0.0,
        solarize: 0.0,
        ..spec.view(0)
    }
}

/// Pixels (n, 3, size, size) and labels of some of a source's labelled pictures, augmented under `key`. Those that can't be read are left
/// out.
pub fn shown(
    images: &dyn Images,
    view: View,
    spec: &ViewSpec,
    key: Key,
    which: &[usize],
) -> (Vec<f32>, Vec<u32>) {
    let one = |&index: &usize| {
        let (picture, label) = (picture(images, index, view).ok()?, images.label(index)?);
        let drawn = draw(spec, key.with(index as u64), picture.height, picture.width);
        Some((view.normalized(&apply(&picture, &drawn, &mut Scratch::default())), label))
    };
    let seen: Vec<Option<(Vec<f32>, u32)>> = which.par_iter().map(one).collect();
    let (pixels, labels): (Vec<Vec<f32>>, Vec<u32>) = seen.into_iter().flatten().unzip();
    (pixels.concat(), labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::ViewDraw;

    #[test]
    fn crops_are_torchvisions_default_and_nothing_else_happens() {
        let spec = spec(32, 0.0);
        let drawn: Vec<_> = (0..4000).map(|i| draw(&spec, Key::new(1).with(i), 100, 100)).collect();
        let plain = |d: &ViewDraw| d.colors.is_empty() && d.blur.is_none() && d.solarize.is_none();
        assert!(drawn.iter().all(|d| d.size == 32 && plain(d)));
        let share = |d: &ViewDraw| (d.height * d.width) as f64 / 1e4;
        assert!(drawn.iter().any(|d| share(d) < 0.12) && drawn.iter().any(|d| share(d) > 0.9));
        let mirrored = drawn.iter().filter(|d| d.flip).count() as f64 / 4000.0;
        assert!((mirrored - 0.5).abs() < 0.03, "{mirrored}");
    }

    #[test]
    fn jitter_turns_no_hue() {
        let drawn = draw(&spec(32, 0.3), Key::new(1), 100, 100);
        assert_eq!(drawn.colors.len(), 3);
    }
}
