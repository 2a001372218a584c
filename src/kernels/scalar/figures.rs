//! What the collapse doctor reads off a batch, slowly.

/// The place of each row's largest number.
pub fn first_choices(rows: usize, k: usize, x: &[f32]) -> Vec<u32> {
    let largest = |row: &[f32]| (0..k).rev().max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0);
    (0..rows).map(|r| largest(&x[r * k..][..k]) as u32).collect()
}

/// (tr C)² / tr C² of the covariance C, which is written out.
pub fn effective_rank(rows: usize, dim: usize, x: &[f32]) -> f64 {
    let at = |r: usize, d: usize| f64::from(x[r * dim + d]);
    let mean: Vec<f64> = (0..dim).map(|d| (0..rows).map(|r| at(r, d)).sum::<f64>() / rows as f64).collect();
    let covariance = |a: usize, b: usize| -> f64 {
        (0..rows).map(|r| (at(r, a) - mean[a]) * (at(r, b) - mean[b])).sum::<f64>() / rows as f64
    };
    let trace: f64 = (0..dim).map(|d| covariance(d, d)).sum();
    let squares: f64 =
        (0..dim).flat_map(|a| (0..dim).map(move |b| (a, b))).map(|(a, b)| covariance(a, b).powi(2)).sum();
    trace * trace / squares
}
