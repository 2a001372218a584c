//! What logistic regression minimises, and its slope.

use std::sync::{Mutex, PoisonError};

use argmin::core::{CostFunction, Error, Gradient};

use crate::eval::classifier::{Classifier, ROWS, Rows, Target, cross_entropy};
use crate::kernels::Products;
use crate::kernels::cpu::linear;

/// The mean cross-entropy over rows plus half the squares of the weights over C times the number of rows, the bias left out: 1 / (C · rows)
/// of scikit-learn's ½ |w|² + C Σ loss. Its arguments are the weights (classes, dim) and the biases behind them.
pub struct Objective<'a> {
    rows: &'a Rows,
    targets: Vec<Target>,
    classes: usize,
    decay: f64,
    /// The last answer: the solver asks for value and slope apart, and a pass over the rows gives both.
    last: Mutex<Option<Answer>>,
}

struct Answer {
    at: Vec<f64>,
    value: f64,
    slope: Vec<f64>,
}

impl<'a> Objective<'a> {
    /// Of these rows, whose labels are below `classes`.
    pub fn new(rows: &'a Rows, classes: usize, c: f64) -> Self {
        let targets = rows.labels.iter().map(|&label| Target::class(label)).collect();
        let decay = 1.0 / (c * rows.labels.len().max(1) as f64);
        Objective { rows, targets, classes, decay, last: Mutex::new(None) }
    }

    /// The classifier that some arguments stand for.
    pub fn classifier(dim: usize, classes: usize, at: &[f64]) -> Classifier {
        let numbers = |part: &[f64]| part.iter().map(|&x| x as f32).collect();
        let (weights, bias) = at.split_at(classes * dim);
        Classifier { dim, classes, weights: numbers(weights), bias: numbers(bias) }
    }

    fn answer(&self, at: &[f64]) -> (f64, Vec<f64>) {
        let (dim, classes) = (self.rows.dim, self.classes);
        let classifier = Self::classifier(dim, classes, at);
        let (mut loss, mut slope) = (0.0, vec![0.0; at.len()]);
        let mut scores = vec![0.0; ROWS.min(self.targets.len()) * classes];
        let mut part = vec![0.0f32; at.len()];
        for (features, targets) in self.rows.features.chunks(ROWS * dim).zip(self.targets.chunks(ROWS)) {
            let (rows, scores) = (targets.len(), &mut scores[..targets.len() * classes]);
            classifier.scores(features, scores);
            loss += cross_entropy(classes, scores, targets, 1.0);
            part.fill(0.0);
            let (weights, bias) = part.split_at_mut(classes * dim);
            let scores = (&*scores).into();
            linear::backward_weight(Products::F32, rows, dim, classes, scores, features.into(), weights);
            linear::backward_bias(rows, classes, scores, bias);
            // a block's sums are f32, and those of all blocks f64
            slope.iter_mut().zip(&part).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        let rows = self.targets.len().max(1) as f64;
        slope.iter_mut().for_each(|x| *x /= rows);
        let weights = &at[..classes * dim];
        slope.iter_mut().zip(weights).for_each(|(x, weight)| *x += self.decay * weight);
        let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
        (loss / rows + 0.5 * self.decay * squares, slope)
    }

    /// `of` the answer at some arguments, computed unless they are the last ones.
    fn asked<T>(&self, at: &[f64], of: impl Fn(&Answer) -> T) -> T {
        // a panic elsewhere leaves a whole answer or none
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = last.as_ref().filter(|answer| answer.at == at) {
            return of(answer);
        }
        let (value, slope) = self.answer(at);
        of(last.insert(Answer { at: at.to_vec(), value, slope }))
    }
}

impl CostFunction for Objective<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, at: &Vec<f64>) -> Result<f64, Error> {
        Ok(self.asked(at, |answer| answer.value))
    }
}

impl Gradient for Objective<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, at: &Vec<f64>) -> Result<Vec<f64>, Error> {
        Ok(self.asked(at, |answer| answer.slope.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Key;

    #[test]
    fn value_and_slope_are_the_definitions() {
        for (rows, dim, classes) in [(1, 1, 1), (ROWS + 5, 3, 4), (9, 7, 2)] {
            let mut draws = Key::new(rows as u64).draws();
            let features: Vec<f32> = (0..rows * dim).map(|_| draws.normal() as f32).collect();
            let labels: Vec<u32> = (0..rows).map(|_| draws.below(classes as u64) as u32).collect();
            let at: Vec<f64> = (0..classes * (dim + 1)).map(|_| draws.normal()).collect();
            let rows_of = Rows { dim, features: features.clone(), labels: labels.clone() };
            let objective = Objective::new(&rows_of, classes, 0.3);
            let value = |at: &[f64]| -> f64 {
                let (weights, bias) = at.split_at(classes * dim);
                let loss = |(x, &label): (&[f32], &u32)| {
                    let score = |c: usize| -> f64 {
                        let terms = x.iter().zip(&weights[c * dim..]).map(|(&x, w)| f64::from(x) * w);
                        terms.sum::<f64>() + bias[c]
                    };
                    (0..classes).map(|c| score(c).exp()).sum::<f64>().ln() - score(label as usize)
                };
                let losses: f64 = features.chunks_exact(dim).zip(&labels).map(loss).sum();
                (losses + weights.iter().map(|w| w * w).sum::<f64>() / 0.6) / rows as f64
            };
            let expected = value(&at);
            assert!((objective.cost(&at).unwrap() - expected).abs() < 1e-6 * expected.max(1.0));
            let slope = objective.gradient(&at).unwrap();
            for i in 0..at.len() {
                let moved = |by: f64| {
                    let mut moved = at.clone();
                    moved[i] += by;
                    value(&moved)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((slope[i] - expected).abs() < 1e-5 * expected.abs().max(1.0), "{rows}: {i}");
            }
        }
    }
}
