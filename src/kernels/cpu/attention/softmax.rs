//! The softmax over a block of scores, and the way back through it.

use crate::kernels::Numbers;
use crate::kernels::cpu::convert::{Widened, read};
use crate::kernels::cpu::lanes::{dot, exp_negative, half_dot, maximum, mul_add, sum};
use half::bf16;

/// Rows that go through each step together: what one row waits for, the others fill.
const ROWS: usize = 8;

/// The inner products of rows of two matrices, their rows `stride` apart and as many as there are `sums`.
pub fn row_dots(width: usize, stride: usize, a: Numbers<'_>, b: Numbers<'_>, sums: &mut [f32]) {
    if let (Numbers::Bf16(a), Numbers::Bf16(b)) = (a, b) {
        return half_dots(width, stride, a, b, sums);
    }
    let (mut a_room, mut b_room) = (Widened::default(), Widened::default());
    let (a, b) = (read(a, 0..a.len(), &mut a_room), read(b, 0..b.len(), &mut b_room));
    dots(width, stride, a, b, sums);
}

vectorised! {
    /// Turns rows of scores into probabilities of scale · score and notes the log of each row's sum of exponentials.
    pub fn exponentials<I>(scale: f32, tokens: usize, padded: usize, scores: &mut [f32], lse: &mut [f32]) {
        for (rows, lse) in scores.chunks_mut(ROWS * padded).zip(lse.chunks_mut(ROWS)) {
            let (mut largest, mut totals) = ([0.0; ROWS], [0.0; ROWS]);
            for (row, max) in rows.chunks_exact_mut(padded).zip(&mut largest) {
                // nothing comes of the rest, and whole vectors are quicker than their pieces
                row[tokens..].fill(f32::NEG_INFINITY);
                *max = maximum::<I>(row);
            }
            for (row, max) in rows.chunks_exact_mut(padded).zip(&largest) {
                for s in row.iter_mut() {
                    *s = exp_negative::<I>((*s - max) * scale);
                }
            }
            for (row, total) in rows.chunks_exact_mut(padded).zip(&mut totals) {
                *total = sum::<I>(row);
            }
            for (row, total) in rows.chunks_exact_mut(padded).zip(&totals) {
                let inverse = 1.0 / total;
                for s in row.iter_mut() {
                    *s *= inverse;
                }
            }
            for ((lse, max), total) in lse.iter_mut().zip(largest).zip(totals) {
                *lse = mul_add::<I>(max, scale, total.ln());
            }
        }
    }

    /// Scores to probabilities p, and dp in `grads` to the scores' gradient p · (dp - out·dout) · scale, for rows whose `lse` and
    /// `means`, out·dout, are given.
    pub fn softmax_backward<I>(
        scale: f32, tokens: usize, padded: usize, lse: &[f32], means: &[f32], scores: &mut [f32], grads: &mut [f32],
    ) {
        let rows = scores.chunks_exact_mut(padded).zip(grads.chunks_exact_mut(padded));
        for ((scores, grads), (lse, mean)) in rows.zip(lse.iter().zip(means)) {
            scores[tokens..].fill(f32::NEG_INFINITY);
            for (s, g) in scores.iter_mut().zip(grads) {
                let p = exp_negative::<I>(mul_add::<I>(*s, scale, -lse));
                *g = p * (*g - mean) * scale;
                *s = p;
            }
        }
    }

    fn dots<I>(width: usize, stride: usize, a: &[f32], b: &[f32], sums: &mut [f32]) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = dot::<I>(&a[i * stride..][..width], &b[i * stride..][..width]);
        }
    }

    fn half_dots<I>(width: usize, stride: usize, a: &[bf16], b: &[bf16], sums: &mut [f32]) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = half_dot::<I>(&a[i * stride..][..width], &b[i * stride..][..width]);
        }
    }
}
