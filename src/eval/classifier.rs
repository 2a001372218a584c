//! A linear classifier on features, what its scores cost, and how often it is right.

use rayon::prelude::*;

use crate::kernels::Products;
use crate::kernels::cpu::linear;

/// Rows of features (n, dim) as a network gives them, and their classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    pub dim: usize,
    pub features: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True when there is no row.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The rows at these places, copied together.
    pub fn gather(&self, places: &[usize]) -> Rows {
        let row = |&place: &usize| &self.features[place * self.dim..][..self.dim];
        Rows {
            dim: self.dim,
            features: places.iter().flat_map(row).copied().collect(),
            labels: places.iter().map(|&place| self.labels[place]).collect(),
        }
    }
}

/// Scores of each class: features (rows, dim) times `weights`ᵀ plus `bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Classifier {
    pub dim: usize,
    pub classes: usize,
    /// (classes, dim)
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Rows whose scores are computed at once: memory stays bounded, and sums are joined in blocks of one size on any number of threads.
pub const ROWS: usize = 4096;

impl Classifier {
    /// All scores 0.
    pub fn zeros(dim: usize, classes: usize) -> Self {
        Classifier { dim, classes, weights: vec![0.0; classes * dim], bias: vec![0.0; classes] }
    }

    /// Scores (rows, classes) of features (rows, dim), written to `to`.
    pub fn scores(&self, features: &[f32], to: &mut [f32]) {
        let (rows, bias) = (features.len() / self.dim.max(1), Some(&self.bias[..]));
        let weights = &self.weights;
        linear::forward(
            Products::F32,
            rows,
            self.dim,
            self.classes,
            features.into(),
            weights,
            bias,
            to.into(),
        );
    }

    /// How often the class of a row has its highest score, and one of its five highest.
    pub fn accuracy(&self, features: &[f32], labels: &[u32]) -> Accuracy {
        let mut hits = [0; 2];
        let mut scores = vec![0.0; ROWS.min(labels.len()) * self.classes];
        for (features, labels) in features.chunks(ROWS * self.dim.max(1)).zip(labels.chunks(ROWS)) {
            let scores = &mut scores[..labels.len() * self.classes];
            self.scores(features, scores);
            let right = |(row, &label): (&[f32], &u32)| rank(row, label);
            let ranks: Vec<usize> = scores.par_chunks_exact(self.classes).zip(labels).map(right).collect();
            hits[0] += ranks.iter().filter(|&&rank| rank == 0).count();
            hits[1] += ranks.iter().filter(|&&rank| rank < 5).count();
        }
        let percent = |hits: usize| 100.0 * hits as f64 / labels.len().max(1) as f64;
        Accuracy { top1: percent(hits[0]), top5: percent(hits[1]) }
    }
}

/// In percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Accuracy {
    pub top1: f64,
    pub top5: f64,
}

/// How many classes come before a label; of equal scores the lower class is first. A label that has no score comes after all.
fn rank(scores: &[f32], label: u32) -> usize {
    let Some(&own) = scores.get(label as usize) else { return scores.len().max(5) };
    // a score that is no number is never right
    let before = |(class, &score): (usize, &f32)| {
        own.is_nan() || score > own || (score == own && class < label as usize)
    };
    scores.iter().enumerate().filter(|&pair| before(pair)).count()
}

/// What a row should come to: `rest` for every class, and shares of two classes on top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub shares: [(u32, f32); 2],
    pub rest: f32,
}

impl Target {
    /// One class and no other.
    pub fn class(label: u32) -> Self {
        Target { shares: [(label, 1.0), (label, 0.0)], rest: 0.0 }
    }
}

/// The sum over rows of the cross-entropy of their targets and the softmax of their scores, in nats; `scores` (rows, classes) become its
/// gradient times `scale`. Labels are below `classes`.
pub fn cross_entropy(classes: usize, scores: &mut [f32], targets: &[Target], scale: f32) -> f64 {
    assert_eq!(scores.len(), targets.len() * classes, "a row of scores for each target");
    let rows = scores.par_chunks_exact_mut(classes).zip(targets);
    // summed in order, so that the number of threads changes nothing
    let losses: Vec<f64> = rows.map(|(row, target)| row_cross_entropy(row, target, scale)).collect();
    losses.iter().sum()
}

fn row_cross_entropy(row: &mut [f32], target: &Target, scale: f32) -> f64 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let of = |(class, share): (u32, f32)| f64::from(share) * f64::from(row[class as usize] - largest);
    let mut wanted = target.shares.map(of).iter().sum::<f64>();
    let mut total = target.shares.iter().map(|&(_, share)| f64::from(share)).sum::<f64>();
    if target.rest != 0.0 {
        let rest = f64::from(target.rest);
        wanted += rest * row.iter().map(|&score| f64::from(score - largest)).sum::<f64>();
        total += rest * row.len() as f64;
    }
    let mut sum = 0.0f64;
    for score in row.iter_mut() {
        *score = (*score - largest).exp();
        sum += f64::from(*score);
    }
    let share = (total / sum) as f32;
    row.iter_mut().for_each(|x| *x = scale * (*x * share - target.rest));
    target.shares.iter().for_each(|&(class, share)| row[class as usize] -= scale * share);
    total * sum.ln() - wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Key;

    /// The loss in f64, as its definition says.
    fn obvious(scores: &[f32], target: &Target) -> f64 {
        let sum: f64 = scores.iter().map(|&s| f64::from(s).exp()).sum();
        let share = |class: usize| {
            let own = target.shares.iter().filter(|s| s.0 as usize == class).map(|s| s.1).sum::<f32>();
            f64::from(own + target.rest)
        };
        (0..scores.len()).map(|c| share(c) * (sum.ln() - f64::from(scores[c]))).sum()
    }

    fn check(classes: usize, target: Target) {
        let mut draws = Key::new(classes as u64).draws();
        let scores: Vec<f32> = (0..classes).map(|_| 3.0 * draws.normal() as f32).collect();
        let mut slope = scores.clone();
        let loss = cross_entropy(classes, &mut slope, &[target], 2.0);
        assert!((loss - obvious(&scores, &target)).abs() < 1e-5 * loss.abs().max(1.0), "{target:?}: {loss}");
        for class in 0..classes {
            let at = |step: f32| {
                let mut moved = scores.clone();
                moved[class] += step;
                obvious(&moved, &target)
            };
            let expected = (at(1e-2) - at(-1e-2)) / 1e-2;
            assert!((f64::from(slope[class]) - expected).abs() < 1e-3, "{target:?}: {class}");
        }
    }

    #[test]
    fn losses_and_slopes_are_the_definitions() {
        for classes in [1, 2, 7, 33] {
            check(classes, Target::class(classes as u32 - 1));
            check(
                classes,
                Target { shares: [(0, 0.6), (classes as u32 / 2, 0.3)], rest: 0.1 / classes as f32 },
            );
        }
        // far apart scores neither overflow nor vanish
        let mut scores = [1000.0, -1000.0];
        assert_eq!(cross_entropy(2, &mut scores, &[Target::class(1)], 1.0), 2000.0);
        assert_eq!(scores, [1.0, -1.0]);
    }

    #[test]
    fn ranks_of_labels() {
        assert_eq!(rank(&[0.1, 0.9, 0.9], 1), 0);
        assert_eq!(rank(&[0.1, 0.9, 0.9], 2), 1);
        assert_eq!(rank(&[f32::NAN, f32::NAN], 0), 2);
        assert_eq!(rank(&[0.5], 3), 5);
    }

    #[test]
    fn accuracies_in_blocks() {
        let one = Classifier { dim: 1, classes: 2, weights: vec![-1.0, 1.0], bias: vec![0.0, 0.0] };
        let rows = ROWS + 3;
        let features: Vec<f32> = (0..rows).map(|row| if row % 2 == 0 { -1.0 } else { 1.0 }).collect();
        let labels: Vec<u32> = (0..rows as u32).map(|row| row % 2).collect();
        assert_eq!(one.accuracy(&features, &labels), Accuracy { top1: 100.0, top5: 100.0 });
        assert_eq!(
            one.accuracy(&features, &vec![0; rows]).top1,
            100.0 * rows.div_ceil(2) as f64 / rows as f64
        );
        assert_eq!(one.accuracy(&[], &[]), Accuracy::default());
    }
}
