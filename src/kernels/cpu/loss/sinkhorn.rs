//! Sinkhorn-Knopp: targets that use all prototypes alike (Cuturi 2013; Caron et al. 2020).

use super::STRIP;
use crate::kernels::cpu::lanes::{exp_negative, maximum};
use crate::kernels::cpu::split::{TASK, each_part};
use rayon::prelude::*;

/// Sinkhorn-Knopp targets over all rows at once (Caron et al. 2020): exp((t - max) / temperature), then alternately every
/// prototype's total and every row's total made equal; rows end with sum 1.
pub fn sinkhorn(
    rows: usize,
    k: usize,
    iterations: usize,
    temperature: f32,
    logits: &[f32],
    targets: &mut [f32],
) {
    assert_eq!([logits.len(), targets.len()], [rows * k; 2], "logits and targets are (rows, k)");
    let maxima: Vec<f32> = logits.par_chunks(TASK).map(maximum_of).collect();
    let max = maximum_of(&maxima);
    each_part(TASK, targets, |i, t| exponentials(&logits[i * TASK..][..t.len()], max, 1.0 / temperature, t));
    // the matrix stays; only its rows' and columns' factors change
    let (mut row_factor, mut column_factor) = (vec![1.0f64; rows], vec![1.0f64; k]);
    for _ in 0..iterations {
        each_part(STRIP, &mut column_factor, |i, factor| {
            factor.fill(0.0);
            for (row, scale) in row_factor.iter().enumerate() {
                add_scaled(*scale, &targets[row * k + i * STRIP..][..factor.len()], factor);
            }
            factor.iter_mut().for_each(|f| *f = share(*f, k));
        });
        each_part(1, &mut row_factor, |row, factor| {
            factor[0] = share(weighted_sum(&targets[row * k..][..k], &column_factor), rows);
        });
    }
    each_part(k.max(1), targets, |row, t| {
        scale_columns(row_factor[row] * rows as f64, &column_factor, t);
    });
}

/// The factor that brings a total to 1 / count; nothing can be brought there from 0.
fn share(total: f64, count: usize) -> f64 {
    if total == 0.0 { 0.0 } else { 1.0 / (total * count as f64) }
}

vectorised! {
    fn maximum_of<I>(x: &[f32]) -> f32 {
        maximum::<I>(x)
    }

    fn exponentials<I>(logits: &[f32], max: f32, inverse: f32, out: &mut [f32]) {
        for (o, l) in out.iter_mut().zip(logits) {
            *o = exp_negative::<I>((l - max) * inverse);
        }
    }

    fn add_scaled<I>(scale: f64, x: &[f32], sum: &mut [f64]) {
        for (s, x) in sum.iter_mut().zip(x) {
            *s += scale * f64::from(*x);
        }
    }

    fn weighted_sum<I>(x: &[f32], weights: &[f64]) -> f64 {
        let mut lanes = [0.0f64; 8];
        let ((xs, x_rest), (weights, weight_rest)) = (x.as_chunks::<8>(), weights.as_chunks::<8>());
        for (x, w) in xs.iter().zip(weights) {
            for l in 0..8 {
                lanes[l] += f64::from(x[l]) * w[l];
            }
        }
        for ((lane, x), w) in lanes.iter_mut().zip(x_rest).zip(weight_rest) {
            *lane += f64::from(*x) * w;
        }
        lanes.iter().sum()
    }

    fn scale_columns<I>(scale: f64, factors: &[f64], x: &mut [f32]) {
        for (x, f) in x.iter_mut().zip(factors) {
            *x = (f64::from(*x) * f * scale) as f32;
        }
    }
}
