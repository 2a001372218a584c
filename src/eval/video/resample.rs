//! Between a video's pixels and a network's patches: frames to the size that is shown, masks to patches, labels back to pixels.

use rayon::prelude::*;

use super::mask::Objects;
use super::propagate::Grid;
use crate::data::Rgb8;

/// What the longer side is a multiple of in the published script, where the patch divides it.
const STEP: usize = 64;

/// Height and width at which a frame is shown: the shorter side `shorter`, the longer one in proportion, both cut to what the patch divides,
/// and a patch at least. The longer side is cut to 64 pixels where the patch divides these, and may so become the shorter one.
pub fn shown_size((height, width): (usize, usize), shorter: usize, patch: usize) -> (usize, usize) {
    let step = if STEP.is_multiple_of(patch) { STEP } else { patch };
    let short = (shorter / patch).max(1) * patch;
    let long = |longer: usize, other: usize| (shorter * longer / other.max(1) / step * step).max(patch);
    if height > width { (long(height, width), short) } else { (short, long(width, height)) }
}

/// Bilinear between pixels' centres without smoothing first (OpenCV's `resize`), values beyond the border repeated.
pub fn bilinear(image: &Rgb8, (height, width): (usize, usize)) -> Rgb8 {
    let (rows, columns) = (stretched(image.height, height), stretched(image.width, width));
    let mut resized = Rgb8::new(height, width);
    resized.pixels.par_chunks_exact_mut((3 * width).max(1)).zip(&rows).for_each(|(line, &(y0, y1, fy))| {
        for (pixel, &(x0, x1, fx)) in line.as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
            let corners =
                [image.pixel(y0, x0), image.pixel(y0, x1), image.pixel(y1, x0), image.pixel(y1, x1)];
            for (channel, value) in pixel.iter_mut().enumerate() {
                let [a, b, c, d] = corners.map(|corner| f32::from(corner[channel]));
                let (above, below) = (a + fx * (b - a), c + fx * (d - c));
                *value = (above + fy * (below - above)).round() as u8;
            }
        }
    });
    resized
}

/// For each of `to` places, `step` apart, the two of `from` that it lies between, and how far it is on the way.
pub fn taps(from: usize, to: usize, step: f64) -> Vec<(usize, usize, f32)> {
    let place = |i: usize| {
        let at = (i as f64 + 0.5) * step - 0.5;
        let at = at.clamp(0.0, from.saturating_sub(1) as f64);
        let first = at.floor() as usize;
        (first, (first + 1).min(from.saturating_sub(1)), (at - at.floor()) as f32)
    };
    (0..to).map(place).collect()
}

/// [`taps`] of all that there is.
fn stretched(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    taps(from, to, from as f64 / to as f64)
}

/// The pixel that each place of another size lies on, its coordinate added up from place to place as Pillow does.
pub fn nearest(mask: &Objects, (height, width): (usize, usize)) -> Objects {
    let places = |from: usize, to: usize| -> Vec<usize> {
        let step = from as f64 / to as f64;
        let all = std::iter::successors(Some(0.5 * step), |at| Some(at + step));
        all.take(to).map(|at| (at as usize).min(from.saturating_sub(1))).collect()
    };
    let (rows, columns) = (places(mask.height, height), places(mask.width, width));
    let row = |&y: &usize| columns.iter().map(move |x| mask.pixels[y * mask.width + x]);
    Objects { height, width, pixels: rows.iter().flat_map(row).collect() }
}

/// Labels of patches, (patches, classes): 1 for the object that a patch lies on.
pub fn one_hot(mask: &Objects, grid: Grid, classes: usize) -> Vec<f32> {
    let small = nearest(mask, (grid.height, grid.width));
    let of = |&object: &u8| (0..classes).map(move |class| f32::from(u8::from(usize::from(object) == class)));
    small.pixels.iter().flat_map(of).collect()
}

/// The object of each pixel from the labels of patches (patches, classes): labels at `patch` times the size, bilinear, each class's brought
/// to 0 to 1 over the frame, the largest taken; then the pixel that each place of `to` lies on.
pub fn objects(labels: &[f32], classes: usize, grid: Grid, patch: usize, to: (usize, usize)) -> Objects {
    let (height, width) = (grid.height * patch, grid.width * patch);
    let (rows, columns) = (stretched(grid.height, height), stretched(grid.width, width));
    let mut best = vec![(f32::NEG_INFINITY, 0u8); height * width];
    let mut map = vec![0.0f32; height * width];
    for class in 0..classes {
        let at = |y: usize, x: usize| labels[(y * grid.width + x) * classes + class];
        map.par_chunks_exact_mut(width.max(1)).zip(&rows).for_each(|(line, &(y0, y1, fy))| {
            for (value, &(x0, x1, fx)) in line.iter_mut().zip(&columns) {
                let (above, below) = (
                    at(y0, x0) + fx * (at(y0, x1) - at(y0, x0)),
                    at(y1, x0) + fx * (at(y1, x1) - at(y1, x0)),
                );
                *value = above + fy * (below - above);
            }
        });
        let (least, most) = map
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), &v| (least.min(v), most.max(v)));
        // a class that is nowhere stays so, and one that is everywhere tells nothing
        let range = if most > 0.0 && most > least { most - least } else { f32::INFINITY };
        best.par_iter_mut().zip(&map).for_each(|(best, &value)| {
            let value = (value - least) / range;
            if value > best.0 {
                *best = (value, class as u8);
            }
        });
    }
    let pixels = best.into_iter().map(|(_, class)| class).collect();
    nearest(&Objects { height, width, pixels }, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_shown_in_multiples_of_the_patch() {
        for (size, shorter, patch, expected) in [
            ((480, 854), 480, 16, (480, 832)),
            ((854, 480), 480, 8, (832, 480)),
            ((480, 910), 480, 16, (480, 896)),
            ((100, 100), 480, 14, (476, 476)),
            ((480, 480), 480, 8, (480, 448)),
            ((500, 481), 480, 16, (448, 480)),
            ((3, 4), 4, 8, (8, 8)),
        ] {
            assert_eq!(shown_size(size, shorter, patch), expected, "{size:?}");
        }
    }

    #[test]
    fn the_same_size_changes_nothing_and_halves_are_means() {
        let image = Rgb8::from_fn(4, 6, |y, x| [(40 * y) as u8, (30 * x) as u8, 7]);
        assert_eq!(bilinear(&image, (4, 6)), image);
        assert_eq!(
            bilinear(&image, (2, 3)),
            Rgb8::from_fn(2, 3, |y, x| [(80 * y + 20) as u8, (60 * x + 15) as u8, 7])
        );
        let mask = Objects { height: 2, width: 4, pixels: vec![1, 1, 2, 2, 3, 3, 4, 4] };
        assert_eq!(nearest(&mask, (1, 2)).pixels, [3, 4]);
        assert_eq!(nearest(&nearest(&mask, (6, 8)), (2, 4)), mask);
    }

    #[test]
    fn labels_come_back_as_masks() {
        let grid = Grid { height: 3, width: 4 };
        let mask = Objects {
            height: 24,
            width: 32,
            pixels: (0..24 * 32).map(|i| if i % 32 < 16 { 0 } else { 2 }).collect(),
        };
        let labels = one_hot(&mask, grid, 3);
        assert_eq!(labels[..12], [1., 0., 0., 1., 0., 0., 0., 0., 1., 0., 0., 1.]);
        assert_eq!(objects(&labels, 3, grid, 8, (24, 32)), mask);
        let background = objects(&[1.0; 12], 1, grid, 8, (24, 32));
        assert!(background.pixels.iter().all(|&object| object == 0));
    }
}
