//! Maps of numbers as pictures: where a network looks (figure 1 of the paper, `visualize_attention.py`).
//!
//! Plain slices in, [`Rgb8`] out: no network, no tensor.

use std::io::{Error, Result};
use std::path::Path;

use colorous::INFERNO;
use image::ExtendedColorType::Rgb8 as Rgb;
use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};

use crate::checkpoint::atomic;
use crate::data::rgb::Rgb8;

/// The colour between and around the pictures of a grid.
const PAPER: [u8; 3] = [255; 3];

/// A map (gh, gw), row-major, as colours over (h, w) pixels: its least number black, its greatest pale yellow (Inferno), bilinear
/// between the centres of its cells. Numbers that are none count as the least; a map of one number, or without cells, is black.
pub fn heat(map: &[f32], gh: usize, gw: usize, h: usize, w: usize) -> Rgb8 {
    let shown = || map.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        shown().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    // without finite numbers the least stays above the greatest
    if high <= low || map.len() != gh * gw {
        return Rgb8::from_fn(h, w, |_, _| color(0.0));
    }
    let share = |y: usize, x: usize| {
        let value = map[y * gw + x];
        if value.is_finite() { f64::from((value - low) / (high - low)) } else { 0.0 }
    };
    let (rows, columns) = (places(gh, h), places(gw, w));
    Rgb8::from_fn(h, w, |y, x| {
        let ((top, bottom, down), (left, right, across)) = (rows[y], columns[x]);
        let upper = share(top, left) * (1.0 - across) + share(top, right) * across;
        let lower = share(bottom, left) * (1.0 - across) + share(bottom, right) * across;
        color(upper * (1.0 - down) + lower * down)
    })
}

/// For each of `pixels`, the two of `cells` that it lies between, and how far it is from the first to the second.
fn places(cells: usize, pixels: usize) -> Vec<(usize, usize, f64)> {
    let place = |pixel: usize| {
        let at = (pixel as f64 + 0.5) * cells as f64 / pixels as f64 - 0.5;
        let at = at.clamp(0.0, (cells - 1) as f64);
        let first = at.floor() as usize;
        (first, (first + 1).min(cells - 1), at - first as f64)
    };
    (0..pixels).map(place).collect()
}

fn color(share: f64) -> [u8; 3] {
    let color = INFERNO.eval_continuous(share.clamp(0.0, 1.0));
    [color.r, color.g, color.b]
}

/// A picture under its heat, of which `strength` (0 to 1) shows. Outside of the smaller of the two there is nothing.
pub fn overlay(picture: &Rgb8, heat: &Rgb8, strength: f64) -> Rgb8 {
    let strength = strength.clamp(0.0, 1.0);
    let (height, width) = (picture.height.min(heat.height), picture.width.min(heat.width));
    Rgb8::from_fn(height, width, |y, x| {
        let (below, above) = (picture.pixel(y, x), heat.pixel(y, x));
        let blend = |of: usize| f64::from(below[of]) * (1.0 - strength) + f64::from(above[of]) * strength;
        [0, 1, 2].map(|channel| blend(channel).round() as u8)
    })
}

/// Pictures in rows on white paper, with `gap` pixels between them: a column is as wide as its widest picture, a row as high as its
/// highest, and each picture lies in the upper left of its place.
pub fn grid(rows: &[Vec<Rgb8>], gap: usize) -> Rgb8 {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|p| p.width).max();
    let widths: Vec<usize> = (0..columns).map(|column| wide(column).unwrap_or(0)).collect();
    let high = |row: &Vec<Rgb8>| row.iter().map(|picture| picture.height).max().unwrap_or(0);
    let heights: Vec<usize> = rows.iter().map(high).collect();
    let sum = |sides: &[usize]| sides.iter().sum::<usize>() + gap * sides.len().saturating_sub(1);
    let mut sheet = Rgb8::from_fn(sum(&heights), sum(&widths), |_, _| PAPER);
    let mut top = 0;
    for (row, height) in rows.iter().zip(&heights) {
        let mut left = 0;
        for (picture, width) in row.iter().zip(&widths) {
            lay(&mut sheet, picture, top, left);
            left += width + gap;
        }
        top += height + gap;
    }
    sheet
}

fn lay(sheet: &mut Rgb8, picture: &Rgb8, top: usize, left: usize) {
    for (y, row) in picture.pixels.chunks_exact(picture.width.max(1) * 3).enumerate() {
        let start = ((top + y) * sheet.width + left) * 3;
        sheet.pixels[start..start + row.len()].copy_from_slice(row);
    }
}

/// A picture with `times` as many pixels each way, every one a square: small pictures stay what they are in a browser.
pub fn enlarge(picture: &Rgb8, times: usize) -> Rgb8 {
    let times = times.max(1);
    Rgb8::from_fn(picture.height * times, picture.width * times, |y, x| picture.pixel(y / times, x / times))
}

/// A picture as the bytes of a PNG file.
///
/// # Errors
/// When it has no pixels.
pub fn png(picture: &Rgb8) -> Result<Vec<u8>> {
    let (height, width) = (side(picture.height)?, side(picture.width)?);
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
        .write_image(&picture.pixels, width, height, Rgb)
        .map_err(Error::other)?;
    Ok(bytes)
}

fn side(pixels: usize) -> Result<u32> {
    u32::try_from(pixels)
        .map_err(|_| Error::other(format!("a side of {pixels} pixels is too long for a PNG")))
}

/// Writes a picture as a PNG file, whole or not at all.
///
/// # Errors
/// When it has no pixels, or the file can't be written.
pub fn save_png(path: &Path, picture: &Rgb8) -> Result<()> {
    let bytes = png(picture)?;
    atomic::write(path, |file| file.write_all(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_rises_from_black_to_pale_and_blends_between_cells() {
        let check = |map: &[f32], (gh, gw): (usize, usize), (y, x): (usize, usize), share: f64| {
            let heat = heat(map, gh, gw, 8, 8);
            assert_eq!((heat.height, heat.width), (8, 8));
            assert_eq!(heat.pixel(y, x), color(share), "{map:?} at {y}, {x}");
        };
        let rising = [1.0, 3.0, 1.0, 3.0];
        check(&rising, (2, 2), (0, 0), 0.0);
        check(&rising, (2, 2), (7, 7), 1.0);
        // pixel 4 lies at 4.5 / 4 - 0.5 cells
        check(&rising, (2, 2), (0, 4), 0.625);
        check(&[1.0, 3.0], (2, 1), (4, 0), 0.625);
        check(&[f32::NAN, 1.0, 2.0, 2.0], (2, 2), (0, 0), 0.0);
        check(&[5.0; 4], (2, 2), (3, 3), 0.0);
        check(&[], (0, 0), (0, 0), 0.0);
    }

    #[test]
    fn an_overlay_blends_by_its_strength() {
        let (picture, heat) = (Rgb8::from_fn(2, 2, |_, _| [100; 3]), Rgb8::from_fn(2, 3, |_, _| [200; 3]));
        let check = |strength: f64, expected: u8| {
            assert_eq!(overlay(&picture, &heat, strength), Rgb8::from_fn(2, 2, |_, _| [expected; 3]));
        };
        check(0.0, 100);
        check(0.25, 125);
        check(7.0, 200);
    }

    #[test]
    fn a_grid_has_room_for_its_largest_and_paper_between() {
        let plain = |height, width, value| Rgb8::from_fn(height, width, |_, _| [value; 3]);
        let sheet = grid(&[vec![plain(2, 2, 1), plain(1, 3, 2)], vec![plain(1, 1, 3)]], 1);
        assert_eq!((sheet.height, sheet.width), (4, 6));
        let expected = ["11.222", "11....", "......", "3....."];
        let sign = |pixel: [u8; 3]| match pixel[0] {
            255 => '.',
            value => char::from(b'0' + value),
        };
        let found: Vec<String> = (0..4).map(|y| (0..6).map(|x| sign(sheet.pixel(y, x))).collect()).collect();
        assert_eq!(found, expected);
        assert_eq!(grid(&[], 3), Rgb8::default());
        assert_eq!(enlarge(&plain(1, 2, 7), 2), plain(2, 4, 7));
    }

    #[test]
    fn a_picture_is_saved_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let picture = Rgb8::from_fn(3, 5, |y, x| [y as u8, x as u8, 9]);
        save_png(&path, &picture).unwrap();
        assert_eq!(image::open(&path).unwrap().to_rgb8().into_raw(), picture.pixels);
        assert!(save_png(&path, &Rgb8::default()).is_err());
    }
}
