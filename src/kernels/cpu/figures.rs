//! What the collapse doctor reads off a batch: each row's first choice, and how many directions features vary in.

use super::lanes::maximum;
use super::optimizer::sum_of_squares;
use super::split::{each_part, rows_per_task};
use super::{Products, linear};
use crate::kernels::{Numbers, NumbersMut};

/// Below this share of the rows' squares, what is left of them without their mean is rounding.
const ROUNDING: f64 = 1e-12;

/// For each of the first `rows` rows of k: the place of its largest number, the first where several are; 0 where one is NaN.
pub fn first_choices(rows: usize, k: usize, x: &[f32]) -> Vec<u32> {
    assert!(x.len() >= rows * k, "{rows} rows of {k}");
    let mut choices = vec![0u32; rows];
    let together = rows_per_task(k);
    each_part(together, &mut choices, |part, choices| {
        for (row, choice) in choices.iter_mut().enumerate() {
            *choice = first_choice(&x[(part * together + row) * k..][..k]);
        }
    });
    choices
}

vectorised! {
    fn first_choice<I>(row: &[f32]) -> u32 {
        let max = maximum::<I>(row);
        row.iter().position(|x| *x == max).unwrap_or(0) as u32
    }
}

/// The participation ratio (Σλ)² / Σλ² of the eigenvalues λ of the covariance of `rows` rows of `dim` numbers: d where they vary
/// alike in d directions and in no other, 0 where all rows are the same but for rounding.
///
/// No eigenvalue is needed: Σλ is the trace and Σλ² the sum of squares of the rows' Gram matrix, whose eigenvalues other than 0
/// are those of the covariance, times the rows.
pub fn effective_rank(rows: usize, dim: usize, x: &[f32]) -> f64 {
    assert_eq!(x.len(), rows * dim, "{rows} rows of {dim}");
    let centred = centred(rows, dim, x);
    let mut gram = vec![0.0; rows * rows];
    let (left, out) = (Numbers::F32(&centred), NumbersMut::F32(&mut gram));
    linear::forward(Products::F32, rows, dim, rows, left, &centred, None, out);
    let trace: f64 = gram.iter().step_by(rows + 1).map(|&g| f64::from(g)).sum();
    match trace > ROUNDING * sum_of_squares(x) {
        true => trace * trace / sum_of_squares(&gram),
        false => 0.0,
    }
}

/// The rows without their mean.
fn centred(rows: usize, dim: usize, x: &[f32]) -> Vec<f32> {
    let mut mean = vec![0.0f64; dim];
    for row in x.chunks(dim) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x));
    }
    mean.iter_mut().for_each(|mean| *mean /= rows as f64);
    let mut centred = x.to_vec();
    for row in centred.chunks_mut(dim) {
        row.iter_mut().zip(&mean).for_each(|(x, mean)| *x = (f64::from(*x) - mean) as f32);
    }
    centred
}

#[cfg(test)]
mod tests {
    use crate::kernels::probe::values;
    use crate::kernels::{cpu, scalar};

    #[test]
    fn choices_and_ranks_agree_with_their_twins() {
        for (rows, k) in [(1, 1), (3, 7), (5, 512), (130, 33), (2, 65_536)] {
            let x = values("x", rows * k);
            let fast = cpu::figures::first_choices(rows, k, &x);
            assert_eq!(fast, scalar::figures::first_choices(rows, k, &x), "{rows} {k}");
        }
        for (rows, dim) in [(2, 3), (17, 5), (33, 128), (128, 64)] {
            let x = values("features", rows * dim);
            let fast = cpu::figures::effective_rank(rows, dim, &x);
            let slow = scalar::figures::effective_rank(rows, dim, &x);
            assert!((fast - slow).abs() < 1e-5 * slow, "{rows} {dim}: {fast} {slow}");
        }
    }

    #[test]
    fn a_rank_counts_directions() {
        let rank = |rows: &[[f32; 3]]| cpu::figures::effective_rank(rows.len(), 3, rows.as_flattened());
        // far from the origin, so that the mean counts for nothing
        assert_eq!(rank(&[[100.0, 5.0, 5.0]; 4]), 0.0);
        assert!((rank(&[[101.0, 5.0, 5.0], [99.0, 5.0, 5.0]]) - 1.0).abs() < 1e-6);
        let square = [[101.0, 5.0, 5.0], [99.0, 5.0, 5.0], [100.0, 6.0, 5.0], [100.0, 4.0, 5.0]];
        assert!((rank(&square) - 2.0).abs() < 1e-6);
        // one direction has nine times the other's variance: (9 + 1)² / (81 + 1)
        let long = [[103.0, 5.0, 5.0], [97.0, 5.0, 5.0], [100.0, 6.0, 5.0], [100.0, 4.0, 5.0]];
        assert!((rank(&long) - 100.0 / 82.0).abs() < 1e-5);
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        assert_eq!(cpu::figures::first_choices(2, 3, &[0.0, 7.0, 7.0, -1.0, -2.0, -1.5]), [1, 0]);
    }
}
