//! The view that evaluation sees: no augmentation.

use super::crop::{Interpolation, Scratch, resample};
use crate::data::rgb::Rgb8;

/// Resizes the shorter side to `resize` and cuts `crop` x `crop` from the middle (256 and 224 in the paper),
/// bicubic. A picture that is narrower than `crop` after resizing is filled with black, as torchvision does.
pub fn eval_view(image: &Rgb8, resize: usize, crop: usize, scratch: &mut Scratch) -> Rgb8 {
    let (height, width) = (image.height.max(1), image.width.max(1));
    // the longer side is cut to a whole pixel, as torchvision does
    let (h, w) =
        if height <= width { (resize, resize * width / height) } else { (resize * height / width, resize) };
    let out = (h.max(1), w.max(1));
    let resized = resample(image, (0, 0), (height, width), out, Interpolation::Bicubic, scratch);
    center_cut(&resized, crop)
}

/// The middle `crop` x `crop` pixels, an odd margin rounded half to even (Python's `round`).
fn center_cut(image: &Rgb8, crop: usize) -> Rgb8 {
    let margin = |side: usize| {
        let margin = (side as f64 - crop as f64) / 2.0;
        // padding is split downwards, cutting half to even
        if margin < 0.0 { -((-margin).floor() as isize) } else { margin.round_ties_even() as isize }
    };
    let (top, left) = (margin(image.height), margin(image.width));
    Rgb8::from_fn(crop, crop, |y, x| {
        let (y, x) = (y as isize + top, x as isize + left);
        let inside = (0..image.height as isize).contains(&y) && (0..image.width as isize).contains(&x);
        if inside { image.pixel(y as usize, x as usize) } else { [0; 3] }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_side_first_then_the_middle() {
        let image = Rgb8::from_fn(30, 60, |_, x| [if (15..45).contains(&x) { 200 } else { 10 }; 3]);
        let view = eval_view(&image, 30, 28, &mut Scratch::default());
        assert_eq!((view.height, view.width), (28, 28));
        assert!(view.pixels.iter().all(|&v| v == 200));
    }

    #[test]
    fn every_shape_gives_the_asked_size() {
        for (h, w) in [(1, 1), (1, 50), (50, 1), (33, 32), (7, 200)] {
            let view = eval_view(&Rgb8::from_fn(h, w, |_, _| [77; 3]), 36, 32, &mut Scratch::default());
            assert_eq!((view.height, view.width), (32, 32));
            assert!(view.pixels.iter().all(|&v| v == 77), "{h} x {w}");
        }
        let small = eval_view(&Rgb8::from_fn(4, 4, |_, _| [77; 3]), 4, 6, &mut Scratch::default());
        assert_eq!(small.pixel(0, 0), [0; 3]);
        assert_eq!(small.pixel(1, 1), [77; 3]);
    }
}
