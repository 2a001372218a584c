//! The rows of a bank that are nearest to queries, slowly.

use std::ops::Range;

use crate::kernels::Neighbours;

/// Rows of unit length.
pub fn unit(rows: usize, dim: usize, x: &mut [f32]) {
    for r in 0..rows {
        let row = &mut x[r * dim..(r + 1) * dim];
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12);
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}

/// All of the bank's rows in their order, of which the first `most` are taken.
pub fn nearest(
    dim: usize,
    most: usize,
    which: Range<usize>,
    queries: &[f32],
    rows: usize,
    bank: &[f32],
) -> Vec<Neighbours> {
    let product = |q: usize, r: usize| -> f32 {
        // a sum of nothing but -0 is 0, as in fused additions to 0
        (0..dim).fold(0.0, |sum, d| sum + f64::from(queries[q * dim + d]) * f64::from(bank[r * dim + d]))
            as f32
    };
    which
        .map(|q| {
            let mut all: Neighbours = (0..rows).map(|r| (product(q, r), r as u32)).collect();
            all.retain(|one| one.0 > f32::NEG_INFINITY);
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(most);
            all
        })
        .collect()
}
