//! The softmax over a block of scores, and the way back through it.

use crate::kernels::cpu::lanes::{dot, exp_negative, maximum, mul_add, sum};

vectorised! {
    /// Turns rows of scores into probabilities of scale · score and notes the log of each row's sum of exponentials.
    pub fn exponentials<I>(scale: f32, tokens: usize, padded: usize, scores: &mut [f32], lse: &mut [f32]) {
        for (row, lse) in scores.chunks_exact_mut(padded).zip(lse) {
            // nothing comes of the rest, and whole vectors are quicker than their pieces
            row[tokens..].fill(f32::NEG_INFINITY);
            let max = maximum::<I>(row);
            for s in row.iter_mut() {
                *s = exp_negative::<I>((*s - max) * scale);
            }
            let total = sum::<I>(row);
            let inverse = 1.0 / total;
            for s in row.iter_mut() {
                *s *= inverse;
            }
            *lse = mul_add::<I>(max, scale, total.ln());
        }
    }

    /// For one query: scores to probabilities p, and dp in `grads` to the scores' gradient p · (dp - out·dout) · scale.
    pub fn softmax_backward<I>(
        scale: f32, tokens: usize, lse: f32, out: &[f32], dout: &[f32], scores: &mut [f32], grads: &mut [f32],
    ) {
        let mean = dot::<I>(out, dout);
        scores[tokens..].fill(f32::NEG_INFINITY);
        for (s, g) in scores.iter_mut().zip(grads) {
            let p = exp_negative::<I>(mul_add::<I>(*s, scale, -lse));
            *g = p * (*g - mean) * scale;
            *s = p;
        }
    }
}
