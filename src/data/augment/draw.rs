//! What does happen to a crop: all random parameters, decided by key alone.

use super::color::Color;
use super::crop::Interpolation;
use super::spec::ViewSpec;
use crate::keyed::{Draws, Key};

/// Everything that was drawn for one crop.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewDraw {
    /// Side of the crop, in pixels.
    pub size: usize,
    /// The part of the picture that is cut, in its pixels.
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
    pub interpolation: Interpolation,
    pub flip: bool,
    /// Color operations in their order; empty when none was drawn.
    pub colors: Vec<Color>,
    /// Deviation of the blur, in pixels.
    pub blur: Option<f64>,
    /// Threshold of the solarization.
    pub solarize: Option<u8>,
}

impl ViewDraw {
    /// A whole picture of `size` x `size` pixels as it is.
    pub fn plain(size: usize) -> Self {
        ViewDraw {
            size,
            top: 0,
            left: 0,
            height: size,
            width: size,
            interpolation: Interpolation::Bicubic,
            flip: false,
            colors: Vec::new(),
            blur: None,
            solarize: None,
        }
    }
}

/// Draws one crop of a picture of `height` x `width` pixels. Each operation has a stream of its own under `key`, so
/// that switching one off changes no other.
pub fn draw(spec: &ViewSpec, key: Key, height: usize, width: usize) -> ViewDraw {
    // a picture without pixels is drawn for as if it had one, and its crops are black
    let (height, width) = (height.max(1), width.max(1));
    let (top, left, cut_height, cut_width) = region(spec, &mut key.named("crop").draws(), height, width);
    let mut blur = key.named("blur").draws();
    ViewDraw {
        size: spec.size,
        top,
        left,
        height: cut_height,
        width: cut_width,
        interpolation: spec.interpolation,
        flip: key.named("flip").draws().chance(spec.flip),
        colors: colors(spec, key),
        blur: blur.chance(spec.blur).then(|| blur.uniform(spec.blur_radius.0, spec.blur_radius.1)),
        solarize: key.named("solarize").draws().chance(spec.solarize).then_some(spec.solarize_threshold),
    }
}

/// Tries before the middle of the picture is taken.
const TRIES: usize = 10;

/// torchvision's `RandomResizedCrop`: (top, left, height, width).
fn region(spec: &ViewSpec, draws: &mut Draws, height: usize, width: usize) -> (usize, usize, usize, usize) {
    let area = (height * width) as f64;
    for _ in 0..TRIES {
        let target = area * draws.uniform(spec.scale.0, spec.scale.1);
        let ratio = draws.uniform(spec.ratio.0.ln(), spec.ratio.1.ln()).exp();
        // Python's round: half to even
        let w = (target * ratio).sqrt().round_ties_even() as usize;
        let h = (target / ratio).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = draws.below((height - h + 1) as u64) as usize;
            let left = draws.below((width - w + 1) as u64) as usize;
            return (top, left, h, w);
        }
    }
    middle(spec.ratio, height, width)
}

/// The largest part around the middle whose aspect lies in `ratio`.
fn middle(ratio: (f64, f64), height: usize, width: usize) -> (usize, usize, usize, usize) {
    let aspect = width as f64 / height as f64;
    let (h, w) = if aspect < ratio.0 {
        ((width as f64 / ratio.0).round_ties_even() as usize, width)
    } else if aspect > ratio.1 {
        (height, (height as f64 * ratio.1).round_ties_even() as usize)
    } else {
        (height, width)
    };
    let (h, w) = (h.clamp(1, height), w.clamp(1, width));
    ((height - h) / 2, (width - w) / 2, h, w)
}

/// torchvision's `ColorJitter` with the probability of the whole, then grey.
fn colors(spec: &ViewSpec, key: Key) -> Vec<Color> {
    let mut colors = Vec::new();
    if key.named("jitter").draws().chance(spec.jitter) {
        let factor = |name: &str, strength: f64| {
            key.named(name).draws().uniform((1.0 - strength).max(0.0), 1.0 + strength)
        };
        let mut operations = [
            (spec.brightness, Color::Brightness(factor("brightness", spec.brightness))),
            (spec.contrast, Color::Contrast(factor("contrast", spec.contrast))),
            (spec.saturation, Color::Saturation(factor("saturation", spec.saturation))),
            (spec.hue, Color::Hue(key.named("hue").draws().uniform(-spec.hue, spec.hue))),
        ];
        key.named("jitter order").draws().shuffle(&mut operations);
        // a strength of 0 is no operation at all: hue's way through 8-bit HSV would change the picture
        colors.extend(operations.iter().filter(|(strength, _)| *strength > 0.0).map(|(_, color)| *color));
    }
    if key.named("grayscale").draws().chance(spec.grayscale) {
        colors.push(Color::Grayscale);
    }
    colors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::MultiCropSpec;

    fn many(view: usize, height: usize, width: usize) -> Vec<ViewDraw> {
        let spec = MultiCropSpec::default().view(view);
        (0..20_000).map(|i| draw(&spec, Key::new(3).with(i), height, width)).collect()
    }

    fn share(draws: &[ViewDraw], of: impl Fn(&ViewDraw) -> bool) -> f64 {
        draws.iter().filter(|d| of(d)).count() as f64 / draws.len() as f64
    }

    #[test]
    fn probabilities_are_the_papers() {
        for (view, blur, solarize) in [(0, 1.0, 0.0), (1, 0.1, 0.2), (2, 0.5, 0.0), (9, 0.5, 0.0)] {
            let draws = many(view, 375, 500);
            let jitter = |d: &ViewDraw| d.colors.iter().any(|c| matches!(c, Color::Hue(_)));
            for (expected, got) in [
                (0.5, share(&draws, |d| d.flip)),
                (0.8, share(&draws, jitter)),
                (0.2, share(&draws, |d| d.colors.last() == Some(&Color::Grayscale))),
                (blur, share(&draws, |d| d.blur.is_some())),
                (solarize, share(&draws, |d| d.solarize == Some(128))),
            ] {
                assert!((expected - got).abs() < 0.015, "view {view}: {expected} became {got}");
            }
        }
    }

    #[test]
    fn ranges_are_the_papers() {
        let draws = many(0, 375, 500);
        let mut firsts = [0; 4];
        for d in &draws {
            assert!(d.blur.is_some_and(|r| (0.1..2.0).contains(&r)));
            for color in &d.colors {
                match *color {
                    Color::Brightness(f) | Color::Contrast(f) => assert!((0.6..1.4).contains(&f)),
                    Color::Saturation(f) => assert!((0.8..1.2).contains(&f)),
                    Color::Hue(s) => assert!((-0.1..0.1).contains(&s)),
                    Color::Grayscale => {}
                }
            }
            match d.colors.first() {
                Some(Color::Brightness(_)) => firsts[0] += 1,
                Some(Color::Contrast(_)) => firsts[1] += 1,
                Some(Color::Saturation(_)) => firsts[2] += 1,
                Some(Color::Hue(_)) => firsts[3] += 1,
                _ => {}
            }
        }
        assert!(firsts.iter().all(|n| (3_700..4_300).contains(n)), "{firsts:?}");
    }

    #[test]
    fn regions_lie_inside_and_cover_the_scale() {
        for (view, low, high) in [(0, 0.4, 1.0), (2, 0.05, 0.4)] {
            let draws = many(view, 375, 500);
            assert!(draws.iter().all(|d| d.top + d.height <= 375 && d.left + d.width <= 500));
            let scale = |d: &ViewDraw| (d.height * d.width) as f64 / (375.0 * 500.0);
            assert!(draws.iter().all(|d| (low - 0.01..=high + 0.01).contains(&scale(d))));
            if view == 2 {
                // small parts always fit, so their area is uniform and their aspect log-uniform
                let aspect: f64 = draws.iter().map(|d| (d.width as f64 / d.height as f64).ln()).sum();
                assert!((aspect / draws.len() as f64).abs() < 0.01);
                let mean = draws.iter().map(scale).sum::<f64>() / draws.len() as f64;
                assert!((mean - 0.225).abs() < 0.003, "{mean}");
            }
        }
    }

    #[test]
    fn odd_shapes_fall_back_to_the_middle() {
        let spec = MultiCropSpec::default().view(0);
        for (height, width, expected) in [
            (1, 100, (0, 49, 1, 1)),
            (1000, 10, (493, 0, 13, 10)),
            (10, 1000, (0, 493, 10, 13)),
            (1, 1, (0, 0, 1, 1)),
        ] {
            let got = draw(&spec, Key::new(0), height, width);
            assert_eq!((got.top, got.left, got.height, got.width), expected, "{height} x {width}");
        }
    }

    #[test]
    fn switching_one_operation_off_changes_no_other() {
        let spec = MultiCropSpec::default().view(1);
        for i in 0..200 {
            let key = Key::new(9).with(i);
            let plain = draw(&ViewSpec { blur: 0.0, jitter: 0.0, ..spec.clone() }, key, 80, 60);
            let full = draw(&spec, key, 80, 60);
            assert_eq!(
                (plain.top, plain.left, plain.flip, plain.solarize),
                (full.top, full.left, full.flip, full.solarize)
            );
            assert_eq!(
                plain.colors.last() == Some(&Color::Grayscale),
                full.colors.last() == Some(&Color::Grayscale)
            );
            assert_eq!(plain.blur, None);
        }
    }
}
