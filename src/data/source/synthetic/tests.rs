use std::collections::HashSet;

use super::*;
use crate::data::wide::wide;

fn open(count: usize, split: Split) -> Synthetic {
    Synthetic::open(&SyntheticParams { count, split, ..Default::default() }).unwrap()
}

#[test]
fn pictures_are_a_function_of_their_index_and_never_repeat() {
    let (train, val) = (open(300, Split::Train), open(300, Split::Val));
    assert_eq!(train.draw(17), open(20, Split::Train).draw(17));
    let all = (0..300).flat_map(|i| [train.draw(i), val.draw(i)]);
    assert_eq!(all.map(|p| p.pixels).collect::<HashSet<_>>().len(), 600);
    assert_eq!((train.label(9), train.label(300)), (Some(1), None));
    assert!(matches!(train.read(300), Err(SourceError::Index { .. })));
}

#[test]
fn tones_are_near_grey_and_span_the_levels() {
    let source = open(200, Split::Train);
    let mut tint = 0.0;
    let mut seen = HashSet::new();
    for i in 0..200 {
        for pixel in source.draw(i).pixels.chunks(3) {
            let (most, least) = (pixel.iter().max().unwrap(), pixel.iter().min().unwrap());
            tint += f64::from(most - least) / (200.0 * 1024.0);
            seen.insert(pixel[0] / 16);
        }
    }
    assert!((2.0..25.0).contains(&tint), "{tint}");
    assert_eq!(seen.len(), 16);
}

#[test]
fn any_size_is_drawn_and_nonsense_is_refused() {
    for size in [1, 2, 31, 96] {
        let params = SyntheticParams { size, classes: 10, ..Default::default() };
        let source = Synthetic::open(&params).unwrap();
        (0..10).for_each(|i| assert_eq!(source.draw(i).pixels.len(), size * size * 3));
    }
    for (params, expected) in [
        (SyntheticParams { count: 0, ..Default::default() }, "count must be 1"),
        (SyntheticParams { size: 0, ..Default::default() }, "size must be 1"),
        (SyntheticParams { classes: 11, ..Default::default() }, "classes must be 1 to 10, not 11"),
    ] {
        let error = Synthetic::open(&params).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Pixels around mid grey, as a unit vector.
fn feature(picture: Rgb8) -> Vec<f32> {
    let x: Vec<f32> = picture.pixels.iter().map(|&v| f32::from(v) - 115.0).collect();
    let norm = x.iter().map(|v| v * v).sum::<f32>().sqrt();
    x.into_iter().map(|v| v / norm).collect()
}

fn inner(x: &[f32], y: &[f32]) -> f32 {
    wide(
        #[inline(always)]
        || {
            let mut sums = [0f32; 32];
            for (x, y) in x.as_chunks::<32>().0.iter().zip(y.as_chunks::<32>().0) {
                (0..32).for_each(|i| sums[i] += x[i] * y[i]);
            }
            sums.iter().sum()
        },
    )
}

/// Accuracy in percent of the paper's 20-NN on raw pixels (votes weighted by exp(similarity / 0.07)).
fn raw_pixel_knn(train: &Synthetic, val: &Synthetic) -> f64 {
    let bank: Vec<_> = (0..train.len()).map(|i| feature(train.draw(i))).collect();
    let right = (0..val.len()).filter(|&query| {
        let x = feature(val.draw(query));
        let mut near: Vec<(f32, usize)> = bank.iter().map(|y| inner(&x, y)).zip(0..).collect();
        near.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut votes = [0f32; FAMILIES.len()];
        near[..20].iter().for_each(|(s, i)| votes[i % train.params.classes] += (s / 0.07).exp());
        let winner = (0..votes.len()).max_by(|&a, &b| votes[a].total_cmp(&votes[b]));
        winner == Some(query % val.params.classes)
    });
    100.0 * right.count() as f64 / val.len() as f64
}

#[test]
fn raw_pixels_tell_something_but_not_much() {
    let accuracy = raw_pixel_knn(&open(4000, Split::Train), &open(400, Split::Val));
    println!("raw pixels, 20-NN: {accuracy:.1} %");
    // chance is 12.5 %; the pictures must neither hide their class from pixels nor give it away
    assert!((27.0..46.0).contains(&accuracy), "{accuracy} %");
}
