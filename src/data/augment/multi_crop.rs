//! All crops of one picture.

use std::sync::Arc;

use super::apply::apply;
use super::crop::Scratch;
use super::draw::{ViewDraw, draw};
use super::spec::MultiCropSpec;
use crate::data::rgb::Rgb8;
use crate::keyed::Key;

/// The crops of one picture, 8-bit until they are collated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crops {
    /// `global_crops` of (global_size, global_size).
    pub global: Vec<Rgb8>,
    /// `local_crops` of (local_size, local_size).
    pub local: Vec<Rgb8>,
}

/// A picture and all that was drawn for its crops, which are still to be made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cuts {
    pub picture: Arc<Rgb8>,
    /// `global_crops` of them.
    pub global: Vec<ViewDraw>,
    /// `local_crops` of them.
    pub local: Vec<ViewDraw>,
}

/// Draws all crops of a picture, of which nothing but the size is known. `key` stands for (seed, epoch, sample); crop `i` is
/// drawn under `key.with(i)`, the global ones first: (global, local).
pub fn draws(spec: &MultiCropSpec, key: Key, height: usize, width: usize) -> (Vec<ViewDraw>, Vec<ViewDraw>) {
    let crop = |index: usize| draw(&spec.view(index), key.with(index as u64), height, width);
    ((0..spec.global_crops).map(crop).collect(), (spec.global_crops..spec.crops()).map(crop).collect())
}

/// Cuts and augments all crops of a picture, as [`draws`] says.
pub fn multi_crop(image: &Rgb8, spec: &MultiCropSpec, key: Key, scratch: &mut Scratch) -> Crops {
    let (global, local) = draws(spec, key, image.height, image.width);
    let mut made = |drawn: &[ViewDraw]| drawn.iter().map(|drawn| apply(image, drawn, scratch)).collect();
    Crops { global: made(&global), local: made(&local) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_depend_on_the_key_alone() {
        let image = Rgb8::from_fn(61, 47, |y, x| [(y * 4) as u8, (x * 5) as u8, (y * x) as u8]);
        let spec = MultiCropSpec { global_size: 32, local_size: 16, local_crops: 3, ..Default::default() };
        let key = Key::new(4).with(2);
        let mut used = Scratch::default();
        let other = multi_crop(&image, &spec, Key::new(5), &mut used);
        let again = multi_crop(&image, &spec, key, &mut used);
        let fresh = multi_crop(&image, &spec, key, &mut Scratch::default());
        assert_eq!(again, fresh);
        assert_ne!(other, fresh);
        assert_eq!((fresh.global.len(), fresh.local.len()), (2, 3));
        assert!(fresh.global.iter().all(|c| (c.height, c.width) == (32, 32)));
        assert!(fresh.local.iter().all(|c| (c.height, c.width) == (16, 16)));
        // the number of local crops changes none of the others
        let more = multi_crop(&image, &MultiCropSpec { local_crops: 5, ..spec }, key, &mut used);
        assert_eq!((&more.global, &more.local[..3]), (&fresh.global, &fresh.local[..]));
    }

    #[test]
    fn any_picture_and_any_size_will_do() {
        let mut scratch = Scratch::default();
        for (h, w) in [(0, 0), (0, 9), (1, 1), (1, 300), (300, 1), (2, 3), (31, 33)] {
            for (globals, global, local, crops) in [(2, 1, 1, 1), (3, 7, 3, 2), (1, 64, 1, 0)] {
                let spec = MultiCropSpec {
                    global_crops: globals,
                    global_size: global,
                    local_size: local,
                    local_crops: crops,
                    ..Default::default()
                };
                let got = multi_crop(&Rgb8::new(h, w), &spec, Key::new(1), &mut scratch);
                assert_eq!((got.global.len(), got.local.len()), (globals, crops));
                assert!(got.global.iter().all(|crop| crop.pixels.len() == global * global * 3));
            }
        }
    }

    #[test]
    fn everything_can_be_switched_off() {
        let image = Rgb8::from_fn(20, 20, |y, x| [(y * 12) as u8, (x * 12) as u8, 50]);
        let spec = MultiCropSpec {
            global_size: 20,
            global_scale: (1.0, 1.0),
            ratio: (1.0, 1.0),
            local_crops: 0,
            flip: 0.0,
            jitter: 0.0,
            grayscale: 0.0,
            blur: (0.0, 0.0, 0.0),
            solarize: (0.0, 0.0, 0.0),
            ..Default::default()
        };
        let crops = multi_crop(&image, &spec, Key::new(1), &mut Scratch::default());
        assert_eq!(crops.global, [image.clone(), image]);
        assert!(crops.local.is_empty());
    }
}
