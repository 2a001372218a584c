//! Layer norm, slowly.

use super::numbers::{store, wide};
use crate::kernels::{Numbers, NumbersMut, Rows};

/// y = (x - mean) · rstd · gain + bias.
pub fn forward(
    rows: Rows<'_>,
    dim: usize,
    eps: f32,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    y: NumbersMut<'_>,
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    let mut all = Vec::with_capacity(rows.len() * dim);
    for r in 0..rows.len() {
        let row = &x[rows.at(r) * dim..(rows.at(r) + 1) * dim];
        let m = row.iter().map(|&v| f64::from(v)).sum::<f64>() / dim as f64;
        let variance = row.iter().map(|&v| (f64::from(v) - m).powi(2)).sum::<f64>() / dim as f64;
        let s = 1.0 / (variance + f64::from(eps)).sqrt();
        for i in 0..dim {
            all.push((f64::from(row[i]) - m) * s * f64::from(gain[i]) + f64::from(bias[i]));
        }
        (mean[r], rstd[r]) = (m as f32, s as f32);
    }
    store(all, y);
}

/// dx, dgain and dbias are added to.
pub fn backward(
    rows: Rows<'_>,
    dim: usize,
    dy: Numbers<'_>,
    x: &[f32],
    gain: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
    dbias: &mut [f32],
) {
    let dy = wide(dy);
    // number i of the rows that are named stands there in x and dx
    let at = |i: usize| rows.at(i / dim) * dim + i % dim;
    let z = |i: usize| f64::from(x[at(i)] - mean[i / dim]) * f64::from(rstd[i / dim]);
    let d = |i: usize| dy[i] * f64::from(gain[i % dim]);
    for r in 0..rows.len() {
        let row = r * dim..(r + 1) * dim;
        let plain = row.clone().map(d).sum::<f64>() / dim as f64;
        let along = row.clone().map(|i| d(i) * z(i)).sum::<f64>() / dim as f64;
        for i in row {
            dx[at(i)] += (f64::from(rstd[r]) * (d(i) - plain - z(i) * along)) as f32;
        }
    }
    for c in 0..dim {
        dgain[c] += (0..rows.len()).map(|r| dy[r * dim + c] * z(r * dim + c)).sum::<f64>() as f32;
        dbias[c] += (0..rows.len()).map(|r| dy[r * dim + c]).sum::<f64>() as f32;
    }
}
