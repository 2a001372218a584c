//! Sinkhorn-Knopp: targets that use all prototypes alike (Cuturi 2013; Caron et al. 2020).

use super::STRIP;
use crate::kernels::cpu::lanes::{exp_negative, maximum};
use crate::kernels::cpu::split::{TASK, each_part, each_part2};
use rayon::prelude::*;

/// Sinkhorn-Knopp targets over all rows of a group at once (Caron et al. 2020): exp((t - max) / temperature), then alternately every
/// prototype's total and every row's total made equal; rows end with sum 1. `entropy` is each row's, in nats.
/// targets (groups, rows, k); logits may go on behind their first groups · rows · k.
pub fn sinkhorn(
    groups: usize,
    rows: usize,
    k: usize,
    iterations: usize,
    temperature: f32,
    logits: &[f32],
    targets: &mut [f32],
    entropy: &mut [f32],
) {
    assert_eq!([targets.len(), entropy.len()], [groups * rows * k, groups * rows], "targets, entropy");
    assert!(logits.len() >= targets.len(), "logits for each of the targets");
    let size = (rows * k).max(1);
    let of_groups = targets.chunks_mut(size).zip(entropy.chunks_mut(rows.max(1))).zip(logits.chunks(size));
    for ((targets, entropy), logits) in of_groups {
        group(rows, k, iterations, 1.0 / temperature, logits, targets, entropy);
    }
}

fn group(
    rows: usize,
    k: usize,
    iterations: usize,
    inverse: f32,
    logits: &[f32],
    targets: &mut [f32],
    entropy: &mut [f32],
) {
    let maxima: Vec<f32> = logits.par_chunks(TASK).map(maximum_of).collect();
    let max = maximum_of(&maxima);
    each_part(TASK, targets, |i, t| exponentials(&logits[i * TASK..][..t.len()], max, inverse, t));
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
    let mut logarithms = vec![0.0f64; k];
    each_part(STRIP, &mut logarithms, |i, logarithms| {
        logarithms.iter_mut().zip(&column_factor[i * STRIP..]).for_each(|(l, f)| *l = logarithm(*f));
    });
    each_part2((k.max(1), targets), (1, entropy), |row, t, entropy| {
        let scale = row_factor[row] * rows as f64;
        entropy[0] =
            finished_row(scale, &column_factor, &logarithms, &logits[row * k..][..k], max, inverse, t);
    });
}

/// The factor that brings a total to 1 / count; nothing can be brought there from 0.
fn share(total: f64, count: usize) -> f64 {
    if total == 0.0 { 0.0 } else { 1.0 / (total * count as f64) }
}

/// Of a factor: what has the factor 0 has no part in an entropy.
fn logarithm(factor: f64) -> f64 {
    if factor == 0.0 { 0.0 } else { factor.ln() }
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

    /// x = scale · factor · x, and the row's entropy: ln p = (logit - max) / temperature + ln factor + ln scale.
    fn finished_row<I>(
        scale: f64, factors: &[f64], logarithms: &[f64], logits: &[f32], max: f32, inverse: f32, x: &mut [f32],
    ) -> f32 {
        let (mut mass, mut along) = ([0.0f64; 8], [0.0f64; 8]);
        let blocks = x.chunks_mut(8).zip(factors.chunks(8)).zip(logarithms.chunks(8)).zip(logits.chunks(8));
        for (((x, factors), logarithms), logits) in blocks {
            for l in 0..x.len() {
                let p = f64::from(x[l]) * factors[l] * scale;
                let exponent = f64::from((logits[l] - max) * inverse) + logarithms[l];
                mass[l] += p;
                // what vanished has no part in the entropy, were its exponent infinite
                along[l] += if p == 0.0 { 0.0 } else { p * exponent };
                x[l] = p as f32;
            }
        }
        let (mass, along): (f64, f64) = (mass.iter().sum(), along.iter().sum());
        (-along - mass * logarithm(scale)) as f32
    }
}
