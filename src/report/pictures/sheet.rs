//! A sheet of attention: a row for each picture, with the picture, the mean over the heads laid over it, and each head alone.

use super::attention::{enlarge, grid, heat, overlay};
use super::times;
use crate::data::augment::{Scratch, eval_view};
use crate::data::rgb::Rgb8;

/// Side of a cell in pixels; smaller pictures are enlarged by whole times, at most to about this.
const LARGEST: usize = 128;
/// Pixels between two cells.
const GAP: usize = 4;
/// How much of the heat shows over a picture.
const STRENGTH: f64 = 0.6;

/// Side in pixels of the cells for square pictures of this side.
pub fn cell_side(side: usize) -> usize {
    if side >= LARGEST { LARGEST } else { side * times(side) }
}

/// The sheet of square pictures, each with its maps (heads, gh, gw) over them, row-major, one after the other.
pub fn sheet(pictures: &[Rgb8], maps: &[Vec<f32>], (gh, gw): (usize, usize)) -> Rgb8 {
    let rows: Vec<Vec<Rgb8>> =
        pictures.iter().zip(maps).map(|(picture, maps)| row(picture, maps, gh, gw)).collect();
    grid(&rows, GAP)
}

fn row(picture: &Rgb8, maps: &[f32], gh: usize, gw: usize) -> Vec<Rgb8> {
    let side = cell_side(picture.width);
    let shown = match picture.width >= LARGEST {
        true => eval_view(picture, side, side, &mut Scratch::default()),
        false => enlarge(picture, times(picture.width)),
    };
    let heads = maps.len() / (gh * gw).max(1);
    let mean = |place: usize| maps.iter().skip(place).step_by(gh * gw).sum::<f32>() / heads.max(1) as f32;
    let mean: Vec<f32> = (0..gh * gw).map(mean).collect();
    let over = overlay(&shown, &heat(&mean, gh, gw, side, side), STRENGTH);
    let each = maps.chunks_exact((gh * gw).max(1)).map(|map| heat(map, gh, gw, side, side));
    [shown, over].into_iter().chain(each).collect()
}

/// A cell of a sheet whose cells have this side; none where the sheet has no such cell.
pub fn cell(sheet: &Rgb8, side: usize, row: usize, column: usize) -> Option<Rgb8> {
    let (top, left) = (row * (side + GAP), column * (side + GAP));
    let inside = side > 0 && top + side <= sheet.height && left + side <= sheet.width;
    inside.then(|| Rgb8::from_fn(side, side, |y, x| sheet.pixel(top + y, left + x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_of_a_sheet_is_what_was_laid_there() {
        let check = |side: usize, cells: usize| {
            assert_eq!(cell_side(side), cells);
            let pictures = [0, 90].map(|value| Rgb8::from_fn(side, side, |_, _| [value; 3]));
            // two heads: the first looks at the lower right, the second nowhere in particular
            let maps = vec![vec![0.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.5, 0.5]; 2];
            let sheet = sheet(&pictures, &maps, (2, 2));
            assert_eq!((sheet.height, sheet.width), (2 * cells + GAP, 4 * cells + 3 * GAP));
            assert_eq!(cell(&sheet, cells, 1, 0), Some(Rgb8::from_fn(cells, cells, |_, _| [90; 3])));
            let first = heat(&[0.0, 0.0, 0.0, 1.0], 2, 2, cells, cells);
            assert_eq!(cell(&sheet, cells, 0, 2), Some(first.clone()));
            let mean = cell(&sheet, cells, 0, 1).unwrap();
            assert_eq!(mean, overlay(&Rgb8::new(cells, cells), &first, STRENGTH));
            assert_eq!(cell(&sheet, cells, 2, 0), None);
        };
        check(32, 96);
        check(100, 100);
        check(200, LARGEST);
    }
}
