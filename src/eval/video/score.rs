//! J and F of whole sequences: for each object its mean over frames, how often it is above a half, and how much it falls (Perazzi et al.
//! 2016); over all objects of all sequences their mean (Pont-Tuset et al. 2017).

use super::boundary::{Mask, agreement};
use super::mask::Objects;
use super::region::overlap;

/// What one measure says of one object, or of all: shares, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    /// Over all judged frames.
    pub mean: f64,
    /// The share of frames above a half.
    pub recall: f64,
    /// The mean of the first quarter of frames less that of the last.
    pub decay: f64,
}

/// One object of one sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ObjectScore {
    pub region: Course,
    pub boundary: Course,
}

impl ObjectScore {
    /// J&F, what methods are ranked by.
    pub fn mean(&self) -> f64 {
        (self.region.mean + self.boundary.mean) / 2.0
    }
}

/// J and F of the objects from 1 to `objects` in a frame; all other numbers, that of undecided pixels too, are background.
pub fn frame(truth: &Objects, found: &Objects, objects: u8) -> Vec<(f64, f64)> {
    let (height, width) = (truth.height, truth.width);
    let one = |object: u8| {
        let (truth, found) = (truth.of(object), found.of(object));
        let region = overlap(truth.iter().copied().zip(found.iter().copied()));
        let mask = |inside| Mask { height, width, inside };
        (region, agreement(mask(&truth), mask(&found)))
    };
    (1..=objects).map(one).collect()
}

/// The course of each of a sequence's objects over its frames, in order: [`frame`]'s of each, for as many objects.
pub fn sequence(frames: &[Vec<(f64, f64)>]) -> Vec<ObjectScore> {
    let one = |object: usize| {
        let (region, boundary): (Vec<f64>, Vec<f64>) = frames.iter().map(|frame| frame[object]).unzip();
        ObjectScore { region: course(&region), boundary: course(&boundary) }
    };
    (0..frames.first().map_or(0, Vec::len)).map(one).collect()
}

/// The mean of objects' scores.
pub fn overall(objects: &[ObjectScore]) -> ObjectScore {
    let over = |measure: fn(&ObjectScore) -> Course| {
        let of = |figure: fn(&Course) -> f64| {
            objects.iter().map(|object| figure(&measure(object))).sum::<f64>() / objects.len().max(1) as f64
        };
        Course { mean: of(|c| c.mean), recall: of(|c| c.recall), decay: of(|c| c.decay) }
    };
    ObjectScore { region: over(|o| o.region), boundary: over(|o| o.boundary) }
}

/// A measure's values over frames, of which there must be one. Quarters share the frames at their ends, as in DAVIS's evaluation.
fn course(values: &[f64]) -> Course {
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let last = values.len().saturating_sub(1) as f64;
    // the least bit more, so that halves are rounded up
    let end = |quarter: usize| (last * quarter as f64 / 4.0 + 1.0 + 1e-10).round_ties_even() as usize - 1;
    let part = |quarter: usize| values.get(end(quarter)..=end(quarter + 1)).unwrap_or_default();
    let above: Vec<f64> = values.iter().map(|&value| f64::from(u8::from(value > 0.5))).collect();
    Course { mean: mean(values), recall: mean(&above), decay: mean(part(0)) - mean(part(3)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::video::mask::VOID;

    #[test]
    fn courses_have_a_mean_a_recall_and_a_decay() {
        let found = course(&[1.0, 0.9, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]);
        assert!((found.mean - 4.8 / 9.0).abs() < 1e-12);
        assert!((found.recall - 4.0 / 9.0).abs() < 1e-12);
        // frames 1 to 3 and 7 to 9
        assert!((found.decay - (0.9 - 0.2)).abs() < 1e-12, "{found:?}");
        assert_eq!(course(&[0.7]), Course { mean: 0.7, recall: 1.0, decay: 0.0 });
        assert_eq!(course(&[]), Course::default());
    }

    #[test]
    fn objects_are_judged_apart_and_undecided_pixels_are_background() {
        let mask = |pixels: [u8; 6]| Objects { height: 2, width: 3, pixels: pixels.to_vec() };
        let found = frame(&mask([1, 1, 2, 0, 0, 2]), &mask([1, 0, 2, 0, 0, 2]), 2);
        assert_eq!((found[0].0, found[1].0), (0.5, 1.0));
        // as background it is what was wrongly found
        assert_eq!(frame(&mask([1, VOID, 0, 0, 0, 0]), &mask([1, 1, 0, 0, 0, 0]), 1)[0].0, 0.5);
        assert_eq!(frame(&mask([0; 6]), &mask([0; 6]), 2), [(1.0, 1.0); 2]);
        let scores = sequence(&[vec![(0.0, 0.5), (1.0, 1.0)], vec![(1.0, 1.0); 2]]);
        assert_eq!(scores[0].region.mean, 0.5);
        assert_eq!((scores[1].mean(), overall(&scores).boundary.mean), (1.0, 0.875));
    }
}
