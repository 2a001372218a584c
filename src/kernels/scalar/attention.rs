//! Attention, slowly: see the fast twin for the shapes.

pub use crate::kernels::cpu::attention::Dims;

/// Where part 0 (query), 1 (key) or 2 (value) of a token's head starts in qkv.
fn at(d: Dims, batch: usize, token: usize, part: usize, head: usize) -> usize {
    (((batch * d.tokens + token) * 3 + part) * d.heads + head) * d.head_dim
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Scores of one query against all tokens, their log-sum-exp and the probabilities.
fn attend(d: Dims, scale: f32, qkv: &[f32], b: usize, h: usize, q: usize) -> (f64, Vec<f64>) {
    let query = &qkv[at(d, b, q, 0, h)..][..d.head_dim];
    let score = |t: usize| f64::from(scale) * dot(query, &qkv[at(d, b, t, 1, h)..][..d.head_dim]);
    let scores: Vec<f64> = (0..d.tokens).map(score).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = max + scores.iter().map(|s| (s - max).exp()).sum::<f64>().ln();
    (lse, scores.iter().map(|s| (s - lse).exp()).collect())
}

/// Calls `work` for every (batch, head, query) with their position in (batch, heads, queries).
fn each_query(d: Dims, mut work: impl FnMut(usize, usize, usize, usize)) {
    for i in 0..d.batch * d.heads * d.queries {
        work(i / (d.heads * d.queries), i / d.queries % d.heads, i % d.queries, i);
    }
}

/// out = softmax(scale · q kᵀ) v.
pub fn forward(d: Dims, scale: f32, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    each_query(d, |b, h, q, i| {
        let (l, p) = attend(d, scale, qkv, b, h, q);
        lse[i] = l as f32;
        for c in 0..d.head_dim {
            let sum: f64 = (0..d.tokens).map(|t| p[t] * f64::from(qkv[at(d, b, t, 2, h) + c])).sum();
            out[((b * d.queries + q) * d.heads + h) * d.head_dim + c] = sum as f32;
        }
    });
}

/// The gradient of all of qkv, overwritten.
pub fn backward(d: Dims, scale: f32, qkv: &[f32], out: &[f32], lse: &[f32], dout: &[f32], dqkv: &mut [f32]) {
    let mut sums = vec![0.0f64; dqkv.len()];
    each_query(d, |b, h, q, i| {
        let (l, p) = attend(d, scale, qkv, b, h, q);
        debug_assert!((l - f64::from(lse[i])).abs() < 1e-3);
        let row = ((b * d.queries + q) * d.heads + h) * d.head_dim;
        let dout = &dout[row..row + d.head_dim];
        let mean = dot(dout, &out[row..row + d.head_dim]);
        for t in 0..d.tokens {
            let value = &qkv[at(d, b, t, 2, h)..][..d.head_dim];
            let ds = p[t] * (dot(dout, value) - mean) * f64::from(scale);
            for c in 0..d.head_dim {
                sums[at(d, b, q, 0, h) + c] += ds * f64::from(qkv[at(d, b, t, 1, h) + c]);
                sums[at(d, b, t, 1, h) + c] += ds * f64::from(qkv[at(d, b, q, 0, h) + c]);
                sums[at(d, b, t, 2, h) + c] += p[t] * f64::from(dout[c]);
            }
        }
    });
    for (d, s) in dqkv.iter_mut().zip(sums) {
        *d = s as f32;
    }
}

/// softmax(scale · q kᵀ), (batch, heads, queries, tokens).
pub fn probabilities(d: Dims, scale: f32, qkv: &[f32], probs: &mut [f32]) {
    each_query(d, |b, h, q, i| {
        let (_, p) = attend(d, scale, qkv, b, h, q);
        for (t, p) in p.into_iter().enumerate() {
            probs[i * d.tokens + t] = p as f32;
        }
    });
}
