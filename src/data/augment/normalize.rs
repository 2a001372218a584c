//! From levels to what a network reads.

use crate::data::rgb::Rgb8;
use crate::data::wide::wide;

/// Mean of ImageNet's channels (red, green, blue), for values from 0 to 1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's channels, for values from 0 to 1.
pub const IMAGENET_DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Writes `(level / 255 - mean) / deviation` into `out`, planar: (3, height, width).
///
/// # Panics
/// When `out` does not have 3 x height x width values.
pub fn normalize_into(image: &Rgb8, mean: [f32; 3], deviation: [f32; 3], out: &mut [f32]) {
    let plane = image.height * image.width;
    assert_eq!(out.len(), 3 * plane, "a picture of {} x {} needs three planes", image.height, image.width);
    let (red, rest) = out.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let pixels = image.pixels.as_chunks::<3>().0;
    wide(
        #[inline(always)]
        move || {
            // in torchvision's order of operations, so that both agree to the last bit
            let value =
                |level: u8, channel: usize| (f32::from(level) / 255.0 - mean[channel]) / deviation[channel];
            for (((pixel, r), g), b) in pixels.iter().zip(red).zip(green).zip(blue) {
                (*r, *g, *b) = (value(pixel[0], 0), value(pixel[1], 1), value(pixel[2], 2));
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_become_planes() {
        let image = Rgb8::from_fn(3, 37, |y, x| [(y * 50 + x) as u8, x as u8, 255 - x as u8]);
        let mut out = vec![0.0; 3 * 3 * 37];
        normalize_into(&image, IMAGENET_MEAN, IMAGENET_DEVIATION, &mut out);
        for (y, x) in (0..3).flat_map(|y| (0..37).map(move |x| (y, x))) {
            for channel in 0..3 {
                let level = f64::from(image.pixel(y, x)[channel]);
                let (mean, deviation) =
                    (f64::from(IMAGENET_MEAN[channel]), f64::from(IMAGENET_DEVIATION[channel]));
                let expected = (level / 255.0 - mean) / deviation;
                assert!((f64::from(out[channel * 111 + y * 37 + x]) - expected).abs() < 1e-6);
            }
        }
    }
}
