//! Training pictures that are cut and mirrored at random, as probes show them: random resized crops of 8 to 100 % of the picture (torchvision's
//! default), mirrored every other time. Every draw is keyed by seed, epoch and picture.

use rayon::prelude::*;

use super::features::{Unreadable, picture};
use super::view::View;
use crate::data::augment::{Interpolation, MultiCropSpec, Scratch, ViewSpec, apply, draw};
use crate::data::source::Images;
use crate::keyed::Key;

/// What may happen to a training picture that is shown at `size` pixels, made by an interpolation; `jitter` is how far brightness, contrast and
/// saturation may go.
pub fn spec(size: usize, interpolation: Interpolation, jitter: f64) -> ViewSpec {
    let spec = MultiCropSpec { global_size: size, global_scale: (0.08, 1.0), ..MultiCropSpec::default() };
    ViewSpec {
        interpolation,
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

/// Some of a source's labelled pictures, augmented.
#[derive(Default)]
pub struct Augmented {
    /// (n, 3, size, size), normalised.
    pub pixels: Vec<f32>,
    pub labels: Vec<u32>,
    /// Those that are not among them.
    pub unreadable: Vec<Unreadable>,
}

/// Some of a source's labelled pictures, augmented under `key`, in the order of `which`.
pub fn shown(images: &dyn Images, view: View, spec: &ViewSpec, key: Key, which: &[usize]) -> Augmented {
    let one = |&index: &usize| {
        let unreadable = |reason| Unreadable { index, reason };
        let picture = picture(images, index, view).map_err(unreadable)?;
        let label = images.label(index).ok_or_else(|| unreadable("it has no label".into()))?;
        let drawn = draw(spec, key.with(index as u64), picture.height, picture.width);
        Ok((view.normalized(&apply(&picture, &drawn, &mut Scratch::default())), label))
    };
    let seen: Vec<Result<(Vec<f32>, u32), Unreadable>> = which.par_iter().map(one).collect();
    let mut augmented = Augmented::default();
    for one in seen {
        match one {
            Ok((pixels, label)) => {
                augmented.pixels.extend(pixels);
                augmented.labels.push(label);
            }
            Err(unreadable) => augmented.unreadable.push(unreadable),
        }
    }
    augmented
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::ViewDraw;

    #[test]
    fn crops_are_torchvisions_default_and_nothing_else_happens() {
        let spec = spec(32, Interpolation::Bilinear, 0.0);
        let drawn: Vec<_> = (0..4000).map(|i| draw(&spec, Key::new(1).with(i), 100, 100)).collect();
        let plain = |d: &ViewDraw| {
            d.interpolation == Interpolation::Bilinear
                && d.colors.is_empty()
                && d.blur.is_none()
                && d.solarize.is_none()
        };
        assert!(drawn.iter().all(|d| d.size == 32 && plain(d)));
        let share = |d: &ViewDraw| (d.height * d.width) as f64 / 1e4;
        assert!(drawn.iter().any(|d| share(d) < 0.12) && drawn.iter().any(|d| share(d) > 0.9));
        let mirrored = drawn.iter().filter(|d| d.flip).count() as f64 / 4000.0;
        assert!((mirrored - 0.5).abs() < 0.03, "{mirrored}");
    }

    #[test]
    fn what_can_not_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        for (name, good) in [("a/1.png", true), ("a/2.png", false), ("b/3.png", true)] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match good {
                true => image::RgbImage::new(9, 7).save(path).unwrap(),
                false => std::fs::write(path, "no picture").unwrap(),
            }
        }
        let images = crate::eval::dataset::open(&folder.path().display().to_string()).unwrap();
        let (spec, view) = (spec(8, Interpolation::Bicubic, 0.0), View::plain(None, 8));
        let found = shown(images.as_ref(), view, &spec, Key::new(1), &[2, 1, 0]);
        assert_eq!((found.labels, found.pixels.len()), (vec![1, 0], 2 * 3 * 64));
        assert!(found.unreadable.len() == 1 && found.unreadable[0].index == 1, "{:?}", found.unreadable);
    }

    #[test]
    fn jitter_turns_no_hue() {
        let drawn = draw(&spec(32, Interpolation::Bicubic, 0.3), Key::new(1), 100, 100);
        assert_eq!(drawn.colors.len(), 3);
    }
}
