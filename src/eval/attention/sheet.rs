//! What a network saw, as pictures.

use super::pca::Pca;
use super::{Look, mass};
use crate::data::Rgb8;
use crate::data::augment::{Interpolation, Scratch, resized};
use crate::report::pictures::attention::{enlarge, grid, heat, overlay};

/// How much of the heat shows over a picture.
const STRENGTH: f64 = 0.6;
/// Pixels between two cells of a grid.
const GAP: usize = 6;
/// Shorter side in pixels of a grid's cells: larger pictures are shown smaller, smaller ones enlarged by whole times.
const CELL: usize = 192;
/// What is left of the brightness of pixels outside of a mask.
const OUTSIDE: f64 = 0.2;

/// All pictures of one look, by the names of their files.
pub struct Drawn {
    pub files: Vec<(String, Rgb8)>,
    /// Everything side by side: picture, mean of the heads and principal components; then each head; then the mass of each.
    pub grid: Rgb8,
}

/// Draws what a network saw: `share` of the mass is what the masks hold.
pub fn draw(look: &Look, pca: &Pca, share: f64) -> Drawn {
    let (height, width) = (look.picture.height, look.picture.width);
    let hot = |map: &[f32]| heat(map, look.grid.0, look.grid.1, height, width);
    let mean = overlay(&look.picture, &hot(&look.mean()), STRENGTH);
    let colors = colors(look, pca);
    let heads: Vec<Rgb8> = (0..look.heads).map(|head| hot(look.head(head))).collect();
    let over: Vec<Rgb8> = heads.iter().map(|heat| overlay(&look.picture, heat, STRENGTH)).collect();
    let masks: Vec<Rgb8> =
        (0..look.heads).map(|head| masked(look, &mass::most(look.head(head), share))).collect();
    let small = |pictures: &[Rgb8]| pictures.iter().map(cell).collect::<Vec<_>>();
    let first = small(&[look.picture.clone(), mean.clone(), colors.clone()]);
    let grid = grid(&[first, small(&heads), small(&over), small(&masks)], GAP);
    let mut files =
        vec![("picture".to_owned(), look.picture.clone()), ("mean".into(), mean), ("pca".into(), colors)];
    for (word, pictures) in [("head", heads), ("overlay", over), ("mask", masks)] {
        files.extend(
            pictures.into_iter().enumerate().map(|(head, picture)| (format!("{word}-{head}"), picture)),
        );
    }
    Drawn { files, grid }
}

/// The patch that a pixel lies in.
fn patch(look: &Look, y: usize, x: usize) -> usize {
    let (rows, columns) = look.grid;
    (y * rows / look.picture.height) * columns + x * columns / look.picture.width
}

/// Each patch in the colour of its principal components.
fn colors(look: &Look, pca: &Pca) -> Rgb8 {
    let dim = look.patches.len() / (look.grid.0 * look.grid.1).max(1);
    let colors: Vec<[u8; 3]> = look.patches.chunks_exact(dim).map(|row| pca.color(row)).collect();
    let Look { picture, .. } = look;
    Rgb8::from_fn(picture.height, picture.width, |y, x| colors[patch(look, y, x)])
}

/// The picture, dark where the mask is not.
fn masked(look: &Look, mask: &[bool]) -> Rgb8 {
    let Look { picture, .. } = look;
    Rgb8::from_fn(picture.height, picture.width, |y, x| {
        let pixel = picture.pixel(y, x);
        let dark = |value: u8| (f64::from(value) * OUTSIDE).round() as u8;
        if mask[patch(look, y, x)] { pixel } else { pixel.map(dark) }
    })
}

/// A picture at the size of a grid's cells.
fn cell(picture: &Rgb8) -> Rgb8 {
    let shorter = picture.height.min(picture.width).max(1);
    if shorter <= CELL {
        return enlarge(picture, CELL / shorter);
    }
    let side = |side: usize| (side * CELL / shorter).max(1);
    resized(
        picture,
        (side(picture.height), side(picture.width)),
        Interpolation::Bicubic,
        &mut Scratch::default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_head_has_its_map_its_overlay_and_its_mask() {
        let look = Look {
            picture: Rgb8::from_fn(8, 16, |_, _| [100; 3]),
            grid: (1, 2),
            maps: vec![0.9, 0.1, 0.2, 0.8],
            heads: 2,
            patches: vec![1.0, 0.0, 0.0, 1.0],
        };
        let drawn = draw(&look, &Pca::fit(&look.patches, 2), 0.6);
        let names: Vec<&str> = drawn.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["picture", "mean", "pca", "head-0", "head-1", "overlay-0", "overlay-1", "mask-0", "mask-1"]
        );
        let mask = &drawn.files[7].1;
        assert_eq!((mask.pixel(3, 7), mask.pixel(3, 8)), ([100; 3], [20; 3]));
        let pca = &drawn.files[2].1;
        assert_ne!(pca.pixel(0, 0), pca.pixel(0, 15));
        // cells are enlarged 24 times: three in the widest row, four rows
        assert_eq!((drawn.grid.height, drawn.grid.width), (4 * 192 + 3 * GAP, 3 * 384 + 2 * GAP));
        assert!(look.mean().iter().zip([0.55, 0.45]).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
