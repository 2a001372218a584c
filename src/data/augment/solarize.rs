//! Inverting what is bright.

use crate::data::rgb::Rgb8;
use crate::data::wide::wide;

/// Inverts every value of at least `threshold`, in place (Pillow's `ImageOps.solarize`; DINO's threshold is 128).
pub fn solarize(image: &mut Rgb8, threshold: u8) {
    let pixels = image.pixels.as_mut_slice();
    wide(
        #[inline(always)]
        move || {
            for value in pixels {
                *value = if *value < threshold { *value } else { 255 - *value };
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bright_values_are_inverted() {
        let mut image = Rgb8 { height: 1, width: 2, pixels: vec![0, 127, 128, 129, 200, 255] };
        solarize(&mut image, 128);
        assert_eq!(image.pixels, [0, 127, 127, 126, 55, 0]);
    }
}
