//! DINO's loss (Caron et al. 2021, equations 2 and 3) and the targets it is taken against.

use super::lanes::{LANES, exp, fold, halve, larger, mul_add};
use super::split::{TASK, each_part, each_part2};
use rayon::prelude::*;

/// Columns a task of a sum over rows takes.
const STRIP: usize = 2048;

/// targets = softmax((logits - center) / temperature) for each of `rows` rows of k, and each row's entropy in nats.
pub fn centered_softmax(
    rows: usize,
    k: usize,
    logits: &[f32],
    center: Option<&[f32]>,
    temperature: f32,
    targets: &mut [f32],
    entropy: &mut [f32],
) {
    assert_eq!(
        [logits.len(), targets.len(), entropy.len()],
        [rows * k, rows * k, rows],
        "logits, targets, entropy"
    );
    assert!(center.is_none_or(|c| c.len() == k), "the centre has one value for each of {k} prototypes");
    each_part2((k, targets), (1, entropy), |row, targets, entropy| {
        let logits = &logits[row * k..][..k];
        entropy[0] = softmax_row(logits, center, 1.0 / temperature, targets);
    });
}

/// The sum over pairs (teacher view i of 2, student view v ≠ i) and over rows of -Σ q · log softmax(s / temperature), times
/// `weight`, and its gradient. student (views, batch, k), targets (2, batch, k); dstudent is overwritten.
pub fn cross_entropy(
    views: usize,
    batch: usize,
    k: usize,
    student: &[f32],
    targets: &[f32],
    temperature: f32,
    weight: f32,
    dstudent: &mut [f32],
) -> f64 {
    assert_eq!(
        [student.len(), dstudent.len()],
        [views * batch * k; 2],
        "student logits are (views, batch, k)"
    );
    assert_eq!(targets.len(), 2 * batch * k, "targets are (2, batch, k)");
    let mut losses = vec![0.0f64; views * batch];
    each_part2((k, dstudent), (1, &mut losses), |row, dstudent, loss| {
        let (view, sample) = (row / batch, row % batch);
        let of = |teacher: usize| &targets[(teacher * batch + sample) * k..][..k];
        // a global view is not compared with itself
        let (first, second) = match view {
            0 => (of(1), None),
            1 => (of(0), None),
            _ => (of(0), Some(of(1))),
        };
        let inverse = 1.0 / temperature;
        loss[0] = pair_row(&student[row * k..][..k], first, second, inverse, weight * inverse, dstudent);
    });
    // in row order, whatever the threads did
    losses.iter().sum::<f64>() * f64::from(weight)
}

/// mean (k) of the rows of x.
pub fn column_mean(rows: usize, k: usize, x: &[f32], mean: &mut [f32]) {
    assert_eq!([x.len(), mean.len()], [rows * k, k], "x is (rows, k), its mean (k)");
    each_part(STRIP, mean, |i, mean| {
        mean.fill(0.0);
        for row in 0..rows {
            add_to(&x[row * k + i * STRIP..][..mean.len()], mean);
        }
        mean.iter_mut().for_each(|m| *m /= rows as f32);
    });
}

/// Entropy in nats of the mean of the targets' rows: near 0 when all choose one prototype.
pub fn entropy_of_mean(rows: usize, k: usize, targets: &[f32]) -> f64 {
    let mut mean = vec![0.0; k];
    column_mean(rows, k, targets, &mut mean);
    let part =
        |p: &[f32]| p.iter().map(|&p| f64::from(p)).map(|p| if p == 0.0 { 0.0 } else { -p * p.ln() }).sum();
    let parts: Vec<f64> = mean.par_chunks(STRIP).map(part).collect();
    parts.iter().sum()
}

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
    fn softmax_row<FUSED>(logits: &[f32], center: Option<&[f32]>, inverse: f32, targets: &mut [f32]) -> f32 {
        match center {
            Some(center) => {
                for ((t, l), c) in targets.iter_mut().zip(logits).zip(center) {
                    *t = l - c;
                }
            }
            None => targets.copy_from_slice(logits),
        }
        let max = fold(targets, f32::NEG_INFINITY, larger, larger);
        let (mut total, mut along) = ([0.0; LANES], [0.0; LANES]);
        for block in targets.chunks_mut(LANES) {
            for (l, t) in block.iter_mut().enumerate() {
                // scaled after the maximum is off, so that the largest keep their digits
                let z = (*t - max) * inverse;
                let e = exp::<FUSED>(z);
                total[l] += e;
                // an exponent that vanished has no part in the entropy, be it infinite
                along[l] += if e == 0.0 { 0.0 } else { e * z };
                *t = e;
            }
        }
        let (total, along) = (halve(total, |a, b| a + b), halve(along, |a, b| a + b));
        let scale = 1.0 / total;
        for t in targets.iter_mut() {
            *t *= scale;
        }
        total.ln() - along * scale
    }

    /// The loss of one student row against one or two target rows, and its gradient times `scale`.
    fn pair_row<FUSED>(
        student: &[f32], first: &[f32], second: Option<&[f32]>, inverse: f32, scale: f32, dstudent: &mut [f32],
    ) -> f64 {
        let max = fold(student, f32::NEG_INFINITY, larger, larger);
        let mut sums = [[0.0f32; LANES]; 3];
        match second {
            Some(second) => {
                let targets = first.chunks(LANES).zip(second.chunks(LANES));
                for ((d, s), (a, b)) in dstudent.chunks_mut(LANES).zip(student.chunks(LANES)).zip(targets) {
                    for l in 0..d.len() {
                        d[l] = tally::<FUSED>(&mut sums, l, (s[l] - max) * inverse, a[l] + b[l]);
                    }
                }
            }
            None => {
                for ((d, s), a) in dstudent.chunks_mut(LANES).zip(student.chunks(LANES)).zip(first.chunks(LANES)) {
                    for l in 0..d.len() {
                        d[l] = tally::<FUSED>(&mut sums, l, (s[l] - max) * inverse, a[l]);
                    }
                }
            }
        }
        let [total, mass, along] = sums.map(|s| halve(s, |a, b| a + b));
        let share = scale * mass / total;
        match second {
            Some(second) => {
                for ((d, a), b) in dstudent.iter_mut().zip(first).zip(second) {
                    *d = mul_add::<FUSED>(*d, share, -scale * (a + b));
                }
            }
            None => {
                for (d, a) in dstudent.iter_mut().zip(first) {
                    *d = mul_add::<FUSED>(*d, share, -scale * a);
                }
            }
        }
        f64::from(mass) * f64::from(total).ln() - f64::from(along)
    }

    fn add_to<FUSED>(x: &[f32], sum: &mut [f32]) {
        for (s, x) in sum.iter_mut().zip(x) {
            *s += x;
        }
    }

    fn maximum_of<FUSED>(x: &[f32]) -> f32 {
        fold(x, f32::NEG_INFINITY, larger, larger)
    }

    fn exponentials<FUSED>(logits: &[f32], max: f32, inverse: f32, out: &mut [f32]) {
        for (o, l) in out.iter_mut().zip(logits) {
            *o = exp::<FUSED>((l - max) * inverse);
        }
    }

    fn add_scaled<FUSED>(scale: f64, x: &[f32], sum: &mut [f64]) {
        for (s, x) in sum.iter_mut().zip(x) {
            *s += scale * f64::from(*x);
        }
    }

    fn weighted_sum<FUSED>(x: &[f32], weights: &[f64]) -> f64 {
        let mut lanes = [0.0f64; LANES];
        for (x, w) in x.chunks(LANES).zip(weights.chunks(LANES)) {
            for l in 0..x.len() {
                lanes[l] += f64::from(x[l]) * w[l];
            }
        }
        lanes.iter().sum()
    }

    fn scale_columns<FUSED>(scale: f64, factors: &[f64], x: &mut [f32]) {
        for (x, f) in x.iter_mut().zip(factors) {
            *x = (f64::from(*x) * f * scale) as f32;
        }
    }
}

/// Adds one prototype to the sums of e^z, of the target q and of q z; returns e^z.
#[inline(always)]
fn tally<const FUSED: bool>(sums: &mut [[f32; LANES]; 3], l: usize, z: f32, q: f32) -> f32 {
    let e = exp::<FUSED>(z);
    sums[0][l] += e;
    sums[1][l] += q;
    sums[2][l] = mul_add::<FUSED>(q, z, sums[2][l]);
    e
}

#[cfg(test)]
mod tests {
    use crate::kernels::probe::{agree, differentiates, distributions, poison, values};
    use crate::kernels::{cpu, scalar};

    fn check(views: usize, batch: usize, k: usize, temperature: f32) {
        let (rows, size) = (2 * batch, 2 * batch * k);
        let (logits, center) = (values("teacher", size), values("center", k));
        // a sharper temperature magnifies the rounding of logits minus centre
        let tolerance = 2e-6 / f64::from(temperature);
        for center in [None, Some(&center[..])] {
            twins!(
                tolerance,
                loss::centered_softmax(rows, k, &logits, center, temperature, t, entropy),
                t = poison(size),
                entropy = poison(rows)
            );
        }
        twins!(1e-6, loss::column_mean(rows, k, &logits, mean), mean = poison(k));
        twins!(tolerance, loss::sinkhorn(rows, k, 3, temperature, &logits, t), t = poison(size));
        let (student, targets) = (values("student", views * batch * k), distributions("q", rows, k));
        agree(
            "cross_entropy",
            5e-6,
            [poison(student.len()), vec![0.0; 2]],
            |[d, scalars]| {
                let loss =
                    cpu::loss::cross_entropy(views, batch, k, &student, &targets, temperature, 0.25, d);
                scalars.copy_from_slice(&[loss as f32, cpu::loss::entropy_of_mean(rows, k, &targets) as f32]);
            },
            |[d, scalars]| {
                let loss =
                    scalar::loss::cross_entropy(views, batch, k, &student, &targets, temperature, 0.25, d);
                scalars
                    .copy_from_slice(&[loss as f32, scalar::loss::entropy_of_mean(rows, k, &targets) as f32]);
            },
        );
    }

    #[test]
    fn fast_loss_agrees_with_its_twin() {
        for (views, batch, k) in [(2, 1, 1), (2, 3, 7), (5, 4, 512), (3, 2, 5000), (10, 1, 65_536)] {
            check(views, batch, k, 0.1);
            check(views, batch, k, 0.04 * 8.0);
        }
    }

    #[test]
    fn scalar_loss_differentiates() {
        let (views, batch, k) = (4, 2, 3);
        let (student, targets) = (values("student", 24), distributions("q", 4, 3));
        let run = |student: &[f32]| {
            let mut d = poison(24);
            (scalar::loss::cross_entropy(views, batch, k, student, &targets, 0.5, 0.1, &mut d), d)
        };
        differentiates("dstudent", &student, &run(&student).1, |student| run(student).0);
    }

    #[test]
    fn a_nan_logit_reaches_the_loss() {
        let mut student = values("student", 2 * 512);
        student[700] = f32::NAN;
        let mut d = poison(1024);
        let targets = distributions("q", 2, 512);
        assert!(cpu::loss::cross_entropy(2, 1, 512, &student, &targets, 0.1, 1.0, &mut d).is_nan());
        let (mut t, mut entropy) = (poison(1024), poison(2));
        cpu::loss::centered_softmax(2, 512, &student, None, 0.1, &mut t, &mut entropy);
        assert!(entropy[0].is_finite() && entropy[1].is_nan());
    }
}
