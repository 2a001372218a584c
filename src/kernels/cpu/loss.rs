//! DINO's loss (Caron et al. 2021, equations 2 and 3) and the targets it is taken against.

use super::lanes::{dot, exp_negative, maximum, mul_add, sum};
use super::split::{each_part, each_part2};
use rayon::prelude::*;

mod distance;
mod info_nce;
mod koleo;
mod partners;
mod sinkhorn;

pub use distance::squared_distances;
pub use info_nce::{enqueue, info_nce};
pub use koleo::koleo;
use partners::Partners;
pub use sinkhorn::sinkhorn;

/// Prototypes whose exponentials are made and added up while they are in the L1 cache.
const BLOCK: usize = 512;

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

/// y = logits - center, in each of `rows` rows of k.
pub fn centered(rows: usize, k: usize, logits: &[f32], center: &[f32], y: &mut [f32]) {
    assert_eq!([logits.len(), y.len(), center.len()], [rows * k, rows * k, k], "logits, y, centre");
    each_part(k.max(1), y, |row, y| difference(&logits[row * k..][..k], center, y));
}

/// The sum over pairs (teacher view i, student view v ≠ i) and over rows of -Σ q · log softmax(s / temperature), times
/// `weight`, and its gradient. student (views, batch, k), targets (globals, batch, k); dstudent is overwritten.
pub fn cross_entropy(
    globals: usize,
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
    assert_eq!(targets.len(), globals * batch * k, "targets are (globals, batch, k)");
    let mut losses = vec![0.0f64; views * batch];
    each_part2((k, dstudent), (1, &mut losses), |row, dstudent, loss| {
        let partners = Partners::of(targets, globals, batch, k, row);
        let inverse = 1.0 / temperature;
        loss[0] = pair_row(&student[row * k..][..k], partners, inverse, weight * inverse, dstudent);
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

vectorised! {
    fn softmax_row<I>(logits: &[f32], center: Option<&[f32]>, inverse: f32, targets: &mut [f32]) -> f32 {
        match center {
            Some(center) => {
                for ((t, l), c) in targets.iter_mut().zip(logits).zip(center) {
                    *t = l - c;
                }
            }
            None => targets.copy_from_slice(logits),
        }
        let max = maximum::<I>(targets);
        let (mut total, mut along) = (0.0f64, 0.0f64);
        for block in targets.chunks_mut(BLOCK) {
            let mut weighted = [0.0; BLOCK];
            for (t, w) in block.iter_mut().zip(&mut weighted) {
                // scaled after the maximum is off, so that the largest keep their digits
                let z = (*t - max) * inverse;
                *t = exp_negative::<I>(z);
                // an exponential that vanished has no part in the entropy, were its exponent infinite
                *w = if *t == 0.0 { 0.0 } else { *t * z };
            }
            total += f64::from(sum::<I>(block));
            along += f64::from(sum::<I>(&weighted[..block.len()]));
        }
        let scale = (1.0 / total) as f32;
        for t in targets.iter_mut() {
            *t *= scale;
        }
        (total.ln() - along / total) as f32
    }

    /// The loss of one student row against its partners' rows, and its gradient times `scale`.
    fn pair_row<I>(
        student: &[f32], partners: Partners<'_>, inverse: f32, scale: f32, dstudent: &mut [f32],
    ) -> f64 {
        let max = maximum::<I>(student);
        let (mut total, mut mass, mut along) = (0.0f64, 0.0f64, 0.0f64);
        let mut at = 0;
        for d in dstudent.chunks_mut(BLOCK) {
            let span = at..at + d.len();
            let mut scaled = [0.0; BLOCK];
            for ((z, d), s) in scaled.iter_mut().zip(d.iter_mut()).zip(&student[span.clone()]) {
                *z = (s - max) * inverse;
                *d = exp_negative::<I>(*z);
            }
            total += f64::from(sum::<I>(d));
            for q in partners.rows() {
                let q = &q[span.clone()];
                mass += f64::from(sum::<I>(q));
                along += f64::from(dot::<I>(q, &scaled[..q.len()]));
            }
            at = span.end;
        }
        let share = (f64::from(scale) * mass / total) as f32;
        let mut rows = partners.rows();
        match (rows.next(), rows.next()) {
            // the paper's two global crops leave one partner or two, which the row is joined with in one pass
            (Some(first), Some(second)) => {
                for ((d, a), b) in dstudent.iter_mut().zip(first).zip(second) {
                    *d = mul_add::<I>(*d, share, -scale * (a + b));
                }
            }
            (Some(first), None) => {
                for (d, a) in dstudent.iter_mut().zip(first) {
                    *d = mul_add::<I>(*d, share, -scale * a);
                }
            }
            (None, _) => dstudent.fill(0.0),
        }
        for more in rows {
            for (d, a) in dstudent.iter_mut().zip(more) {
                *d = mul_add::<I>(-scale, *a, *d);
            }
        }
        mass * total.ln() - along
    }

    fn difference<I>(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = a - b;
        }
    }

    fn add_to<I>(x: &[f32], sum: &mut [f32]) {
        for (s, x) in sum.iter_mut().zip(x) {
            *s += x;
        }
    }
}

#[cfg(test)]
mod tests;
