//! Turning a picture upright by its EXIF orientation.

use image::metadata::Orientation;

use crate::data::rgb::Rgb8;

/// The picture as its camera was held.
pub fn upright(image: Rgb8, orientation: Orientation) -> Rgb8 {
    let (h, w) = (image.height, image.width);
    // (y, x) of the upright picture to (row, column) of the stored one
    match orientation {
        Orientation::NoTransforms => image,
        Orientation::FlipHorizontal => Rgb8::from_fn(h, w, |y, x| image.pixel(y, w - 1 - x)),
        Orientation::Rotate180 => Rgb8::from_fn(h, w, |y, x| image.pixel(h - 1 - y, w - 1 - x)),
        Orientation::FlipVertical => Rgb8::from_fn(h, w, |y, x| image.pixel(h - 1 - y, x)),
        Orientation::Rotate90FlipH => Rgb8::from_fn(w, h, |y, x| image.pixel(x, y)),
        Orientation::Rotate90 => Rgb8::from_fn(w, h, |y, x| image.pixel(h - 1 - x, y)),
        Orientation::Rotate270FlipH => Rgb8::from_fn(w, h, |y, x| image.pixel(h - 1 - x, w - 1 - y)),
        Orientation::Rotate270 => Rgb8::from_fn(w, h, |y, x| image.pixel(x, w - 1 - y)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, RgbImage};

    #[test]
    fn every_orientation_agrees_with_the_image_crate() {
        let image = Rgb8::from_fn(3, 5, |y, x| [y as u8, x as u8, 7]);
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let raw = RgbImage::from_raw(5, 3, image.pixels.clone()).unwrap();
            let mut expected = DynamicImage::ImageRgb8(raw);
            expected.apply_orientation(orientation);
            let got = upright(image.clone(), orientation);
            assert_eq!(
                (got.width as u32, got.height as u32),
                (expected.width(), expected.height()),
                "{exif}"
            );
            assert_eq!(got.pixels, expected.into_rgb8().into_raw(), "{exif}");
        }
    }
}
