//! The pictures of a run: the crops that the networks were shown, and where they looked as training went on.

use maud::{Markup, html};

use super::record::Sheet;
use super::run::Run;
use super::shell::data_url;
use crate::data::augment::{Scratch, eval_view};
use crate::data::rgb::Rgb8;
use crate::report::pictures::attention::{grid, png};
use crate::report::pictures::sheet::cell;

/// Steps of the strip, and rows of it, at most.
const STEPS: usize = 7;
const ROWS: usize = 4;
/// Side of the strip's cells in pixels, at most.
const CELL: usize = 80;
/// Pixels between two cells.
const GAP: usize = 3;
/// Width of the sheet of crops in pixels, at most: a page stays light.
const WIDTH: usize = 640;

/// The section of a run; nothing where it has no pictures.
pub fn gallery(run: &Run) -> Markup {
    let crops = run.image("crops.png").and_then(|crops| address(&fitted(&crops, WIDTH)));
    let strips: Vec<Markup> = networks(run).iter().filter_map(|network| strip(run, network)).collect();
    html! {
        @if crops.is_none() && strips.is_empty() {
            p.quiet { "No pictures: crops are drawn in a run's first step, attention where the graph has a node for it." }
        }
        @if let Some(crops) = &crops {
            figure.crops {
                img alt="the crops of the first pictures, a row for each" src=(crops);
                figcaption { "The crops of the first pictures, a row for each, as the networks were shown them: global ones, then local ones." }
            }
        }
        @for strip in &strips { (strip) }
    }
}

fn networks(run: &Run) -> Vec<String> {
    let mut names: Vec<String> = run.record.sheets.iter().map(|sheet| sheet.network.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// The sheets of a network as columns, one for each of some steps; the pictures themselves stand first.
fn strip(run: &Run, network: &str) -> Option<Markup> {
    let sheets: Vec<&Sheet> = run.record.sheets.iter().filter(|sheet| sheet.network == network).collect();
    let mut columns: Vec<(String, String)> = Vec::new();
    for sheet in chosen(&sheets) {
        let Some(picture) = run.image(&sheet.picture) else { continue };
        if columns.is_empty() {
            columns.push(("picture".into(), address(&column(&picture, sheet, 0)?)?));
        }
        columns.push((format!("step {}", sheet.step), address(&column(&picture, sheet, 1)?)?));
    }
    // a strip of which no picture is left is none
    (!columns.is_empty()).then(|| {
        html! {
            h4 { "Where the " (network) " looks" }
            div.strip {
                @for (title, picture) in &columns {
                    figure { img alt=(format!("attention, {title}")) src=(picture); figcaption { (title) } }
                }
            }
            p.quiet {
                "The last block's attention of the CLS token, the mean over its heads; each head is in " code { "pictures/" } "."
            }
        }
    })
}

/// Sheets evenly spread over training, the first and the last among them.
fn chosen<'s>(sheets: &[&'s Sheet]) -> Vec<&'s Sheet> {
    let last = sheets.len().saturating_sub(1);
    let places = sheets.len().min(STEPS);
    (0..places).map(|place| sheets[if places > 1 { place * last / (places - 1) } else { 0 }]).collect()
}

/// One column of a sheet's cells; none where the file is not as the record says.
fn column(picture: &Rgb8, sheet: &Sheet, index: usize) -> Option<Rgb8> {
    let cells = (0..sheet.rows.min(ROWS)).map(|row| {
        let cell = cell(picture, sheet.side, row, index)?;
        let side = sheet.side.min(CELL);
        Some(vec![eval_view(&cell, side, side, &mut Scratch::default())])
    });
    Some(grid(&cells.collect::<Option<Vec<_>>>()?, GAP))
}

/// A picture at most so wide: each pixel the mean of those behind it.
fn fitted(picture: &Rgb8, most: usize) -> Rgb8 {
    let times = picture.width.div_ceil(most.max(1)).max(1);
    Rgb8::from_fn(picture.height / times, picture.width / times, |y, x| {
        [0, 1, 2].map(|channel| {
            let levels = (0..times * times)
                .map(|place| picture.pixel(y * times + place / times, x * times + place % times)[channel]);
            (levels.map(usize::from).sum::<usize>() / (times * times)) as u8
        })
    })
}

fn address(picture: &Rgb8) -> Option<String> {
    png(picture).ok().map(|bytes| data_url("image/png", &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_are_spread_with_both_ends() {
        let check = |count: usize, expected: &[u64]| {
            let sheet =
                |step| Sheet { step, network: String::new(), picture: String::new(), rows: 1, side: 1 };
            let all: Vec<Sheet> = (0..count as u64).map(sheet).collect();
            let chosen = chosen(&all.iter().collect::<Vec<_>>());
            assert_eq!(chosen.iter().map(|sheet| sheet.step).collect::<Vec<_>>(), expected);
        };
        check(0, &[]);
        check(1, &[0]);
        check(3, &[0, 1, 2]);
        check(13, &[0, 2, 4, 6, 8, 10, 12]);
        check(20, &[0, 3, 6, 9, 12, 15, 19]);
    }

    #[test]
    fn a_wide_picture_is_made_of_means() {
        let wide = Rgb8::from_fn(2, 5, |y, x| [(10 * y + x) as u8; 3]);
        assert_eq!(fitted(&wide, 9), wide);
        let small = fitted(&wide, 3);
        assert_eq!((small.height, small.width), (1, 2));
        assert_eq!((small.pixel(0, 0), small.pixel(0, 1)), ([5; 3], [7; 3]));
    }
}
