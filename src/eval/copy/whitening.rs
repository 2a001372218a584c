//! Whitening: what distractors have in common is taken out of all features.
//!
//! As the published script does it: the mean of the pictures that it is learnt from is taken off, and what remains is divided by the roots
//! of the eigenvalues of their second moments, about 0 and not about their mean, of which none counts less than 1e-5 of the largest.

use rayon::prelude::*;

use crate::eval::symmetric::{Eigen, eigen};

/// The least share of the largest eigenvalue that one is taken to have.
const LEAST: f64 = 1e-5;

/// A whitening of features of width `dim`.
pub struct Whitening {
    mean: Vec<f64>,
    /// (dim, dim): eigenvectors as rows, each divided by the root of its eigenvalue.
    rows: Vec<f64>,
}

impl Whitening {
    /// Learns from rows of features, (n, dim) with n at least 1.
    pub fn learn(dim: usize, features: &[f32]) -> Self {
        let count = (features.len() / dim).max(1) as f64;
        let mut mean = vec![0.0; dim];
        for row in features.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        mean.iter_mut().for_each(|sum| *sum /= count);
        let mut moments = vec![0.0; dim * dim];
        moments.par_chunks_exact_mut(dim).enumerate().for_each(|(i, out)| {
            for row in features.chunks_exact(dim) {
                let own = f64::from(row[i]) / count;
                out.iter_mut().zip(row).for_each(|(sum, &x)| *sum += own * f64::from(x));
            }
        });
        let Eigen { values, mut vectors } = eigen(dim, moments);
        let largest = values.iter().copied().fold(0.0, f64::max);
        for (row, value) in vectors.chunks_exact_mut(dim).zip(&values) {
            // features that are 0 throughout stay so
            let root = value.max(LEAST * largest).sqrt().max(f64::MIN_POSITIVE);
            row.iter_mut().for_each(|x| *x /= root);
        }
        Whitening { mean, rows: vectors }
    }

    /// The same features whitened, (n, dim).
    pub fn apply(&self, features: &[f32]) -> Vec<f32> {
        let dim = self.mean.len();
        let one = |row: &[f32]| {
            let from: Vec<f64> = row.iter().zip(&self.mean).map(|(&x, mean)| f64::from(x) - mean).collect();
            let along = move |axis: &[f64]| axis.iter().zip(&from).map(|(a, x)| a * x).sum::<f64>() as f32;
            self.rows.chunks_exact(dim).map(along).collect::<Vec<f32>>()
        };
        features.par_chunks_exact(dim).flat_map_iter(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Key;

    #[test]
    fn what_it_learnt_from_has_unit_second_moments_afterwards() {
        let (dim, count) = (5, 400);
        let mut draws = Key::new(1).draws();
        let mut features = Vec::new();
        for _ in 0..count {
            let common = draws.normal();
            // no mean, so that moments about it are those about 0
            features.extend((0..dim).map(|i| (draws.normal() * (i + 1) as f64 + 3.0 * common) as f32));
        }
        let mean: Vec<f32> =
            (0..dim).map(|i| features.iter().skip(i).step_by(dim).sum::<f32>() / 400.0).collect();
        features.iter_mut().enumerate().for_each(|(at, x)| *x -= mean[at % dim]);
        let white = Whitening::learn(dim, &features).apply(&features);
        for i in 0..dim {
            for j in 0..dim {
                let pairs = white.chunks_exact(dim).map(|row| f64::from(row[i]) * f64::from(row[j]));
                let moment = pairs.sum::<f64>() / f64::from(count);
                let expected = f64::from(u8::from(i == j));
                assert!((moment - expected).abs() < 1e-3, "{i}, {j}: {moment}");
            }
        }
    }

    #[test]
    fn few_pictures_leave_no_number_undefined() {
        let white = Whitening::learn(3, &[1.0, 2.0, 3.0]).apply(&[1.0, 2.0, 3.0, 0.0, 1.0, 0.0]);
        assert!(white.iter().all(|x| x.is_finite()), "{white:?}");
        assert!(Whitening::learn(2, &[0.0, 0.0]).apply(&[0.0, 0.0]).iter().all(|x| x.is_finite()));
    }
}
