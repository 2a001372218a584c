//! Mirroring left and right.

use crate::data::rgb::Rgb8;

/// Mirrors the picture left to right, in place.
pub fn horizontal_flip(image: &mut Rgb8) {
    if image.width == 0 {
        return;
    }
    for row in image.pixels.chunks_exact_mut(image.width * 3) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_change_places() {
        for (h, w) in [(1, 1), (2, 3), (3, 4), (5, 64)] {
            let image = Rgb8::from_fn(h, w, |y, x| [y as u8, x as u8, 9]);
            let mut flipped = image.clone();
            horizontal_flip(&mut flipped);
            assert_eq!(flipped, Rgb8::from_fn(h, w, |y, x| image.pixel(y, w - 1 - x)));
        }
        horizontal_flip(&mut Rgb8::default());
    }
}
