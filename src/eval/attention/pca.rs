//! Patch features as colours: their first three principal components as red, green and blue.

use rayon::prelude::*;

/// Directions that are shown.
const SHOWN: usize = 3;
/// Rounds of subspace iteration: components whose variances differ by a hundredth part are told apart.
const ROUNDS: usize = 300;

/// The directions in which features differ most, and the range of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    mean: Vec<f64>,
    /// Orthonormal, by falling variance.
    directions: Vec<Vec<f64>>,
    /// The hundredth part of the features lies below the first, another above the second: a few odd patches don't take all colours.
    ranges: [(f64, f64); SHOWN],
}

impl Pca {
    /// From features (rows, dim), at least one.
    pub fn fit(features: &[f32], dim: usize) -> Self {
        let rows = (features.len() / dim.max(1)).max(1) as f64;
        let mut mean = vec![0.0; dim];
        for row in features.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) / rows);
        }
        let covariance = covariance(features, &mean);
        let directions = directions(&covariance, dim);
        let mut pca = Pca { mean, directions, ranges: [(0.0, 0.0); SHOWN] };
        let projected: Vec<[f64; SHOWN]> =
            features.par_chunks_exact(dim).map(|row| pca.project(row)).collect();
        pca.ranges = std::array::from_fn(|at| range(projected.iter().map(|p| p[at]).collect()));
        pca
    }

    fn project(&self, row: &[f32]) -> [f64; SHOWN] {
        let along = |direction: &Vec<f64>| {
            row.iter().zip(&self.mean).zip(direction).map(|((&x, mean), d)| (f64::from(x) - mean) * d).sum()
        };
        std::array::from_fn(|at| self.directions.get(at).map_or(0.0, along))
    }

    /// The colour of a patch.
    pub fn color(&self, row: &[f32]) -> [u8; 3] {
        let projected = self.project(row);
        std::array::from_fn(|at| {
            let (low, high) = self.ranges[at];
            let share = if high > low { (projected[at] - low) / (high - low) } else { 0.5 };
            (255.0 * share.clamp(0.0, 1.0)).round() as u8
        })
    }
}

/// (dim, dim): the mean of (x - mean)(x - mean)ᵀ. Each row is one thread's, so the sums don't depend on their number.
fn covariance(features: &[f32], mean: &[f64]) -> Vec<Vec<f64>> {
    let dim = mean.len();
    let rows = (features.len() / dim.max(1)).max(1) as f64;
    let row = |i: usize| {
        let mut sums = vec![0.0f64; dim];
        for row in features.chunks_exact(dim) {
            let own = f64::from(row[i]) - mean[i];
            sums.iter_mut()
                .zip(row)
                .zip(mean)
                .for_each(|((sum, &x), mean)| *sum += own * (f64::from(x) - mean));
        }
        sums.into_iter().map(|sum| sum / rows).collect()
    };
    (0..dim).into_par_iter().map(row).collect()
}

/// The leading eigenvectors by subspace iteration from fixed beginnings. A direction's largest part is positive, so that equal features
/// have equal colours.
fn directions(covariance: &[Vec<f64>], dim: usize) -> Vec<Vec<f64>> {
    let first =
        |at: usize| (0..dim).map(|i| ((i * (2 * at + 3) + at) as f64).sin() + 0.1).collect::<Vec<f64>>();
    let mut basis: Vec<Vec<f64>> = (0..SHOWN.min(dim)).map(first).collect();
    orthonormal(&mut basis);
    for _ in 0..ROUNDS {
        for vector in &mut basis {
            *vector = covariance.iter().map(|row| dot(row, vector)).collect();
        }
        orthonormal(&mut basis);
    }
    for vector in &mut basis {
        let largest =
            vector.iter().copied().fold(0.0f64, |most, x| if x.abs() > most.abs() { x } else { most });
        vector.iter_mut().for_each(|x| *x *= largest.signum());
    }
    basis
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Gram and Schmidt, in order. What has no length of its own becomes zero: features may differ in fewer directions.
fn orthonormal(basis: &mut [Vec<f64>]) {
    for at in 0..basis.len() {
        let (before, rest) = basis.split_at_mut(at);
        let vector = &mut rest[0];
        let length = dot(vector, vector).sqrt();
        for other in before {
            let along = dot(vector, other);
            vector.iter_mut().zip(other.iter()).for_each(|(x, y)| *x -= along * y);
        }
        let left = dot(vector, vector).sqrt();
        let scale = if left > 1e-9 * length && left > 0.0 { 1.0 / left } else { 0.0 };
        vector.iter_mut().for_each(|x| *x *= scale);
    }
}

/// What a hundredth part lies below, and another above.
fn range(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return (0.0, 0.0) };
    (values[last / 100], values[last - last / 100])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Key;

    #[test]
    fn the_directions_of_made_features_are_found() {
        // deviations 9, 5, 2 along three axes that are mixed in pairs, and little beside
        let mut draws = Key::new(4).draws();
        let (rows, dim, (sine, cosine)) = (4000, 8, 0.6f64.sin_cos());
        let mut features = Vec::new();
        for _ in 0..rows {
            let own: Vec<f64> = [0.1, 9.0, 0.1, 5.0, 2.0, 0.1, 0.1, 0.1].map(|d| d * draws.normal()).to_vec();
            let mut row = own.clone();
            (row[1], row[0]) = (cosine * own[1] - sine * own[0], sine * own[1] + cosine * own[0]);
            features.extend(row.iter().map(|x| (x + 3.0) as f32));
        }
        let pca = Pca::fit(&features, dim);
        let check = |at: usize, axis: &[(usize, f64)]| {
            let along: f64 = axis.iter().map(|&(i, x)| pca.directions[at][i] * x).sum();
            assert!(along > 0.999, "{at}: {:?}", pca.directions[at]);
        };
        check(0, &[(1, cosine), (0, sine)]);
        check(1, &[(3, 1.0)]);
        check(2, &[(4, 1.0)]);
        // the middle is grey, the ends are dark and bright
        let middle = [3.0f32; 8];
        assert!(pca.color(&middle).iter().all(|c| (118..138).contains(c)), "{:?}", pca.color(&middle));
        let mut far = middle;
        far[3] += 40.0;
        assert_eq!(pca.color(&far)[1], 255);
        far[3] -= 80.0;
        assert_eq!(pca.color(&far)[1], 0);
    }

    #[test]
    fn features_that_hardly_differ_have_colours_too() {
        assert_eq!(Pca::fit(&[1.0, 2.0, 1.0, 2.0], 2).color(&[1.0, 2.0]), [128; 3]);
        let line = Pca::fit(&[0.0, 0.0, 1.0, 1.0, 2.0, 2.0], 2);
        assert_eq!(line.color(&[2.0, 2.0])[0], 255);
        assert_eq!(line.color(&[2.0, 2.0])[1..], [128; 2]);
        assert_eq!(Pca::fit(&[7.0], 1).color(&[7.0]), [128; 3]);
    }
}
