//! Attention, slowly: see the fast twin for the shapes.

pub use crate::kernels::cpu::attention::Dims;

use super::linear;
use super::numbers::{factor, store, wide};
use crate::kernels::{Numbers, NumbersMut, Products};

/// Where part 0 (query), 1 (key) or 2 (value) of a token's head starts in qkv.
fn at(d: Dims, batch: usize, token: usize, part: usize, head: usize) -> usize {
    (((batch * d.tokens + token) * 3 + part) * d.heads + head) * d.head_dim
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Scores of one query against all tokens, their log-sum-exp and the probabilities.
fn attend(d: Dims, scale: f32, qkv: &[f64], b: usize, h: usize, q: usize) -> (f64, Vec<f64>) {
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

/// qkv = x wᵀ + bias; the queries of tokens that do not ask are left as they are.
pub fn qkv_forward(
    products: Products,
    d: Dims,
    x: Numbers<'_>,
    w: &[f32],
    bias: &[f32],
    qkv: NumbersMut<'_>,
) {
    let (rows, width) = (d.batch * d.tokens, d.heads * d.head_dim);
    let mut all = vec![0.0; qkv.len()];
    linear::forward(products, rows, width, 3 * width, x, w, Some(bias), (&mut all[..]).into());
    let found = match &qkv {
        NumbersMut::F32(x) => wide(Numbers::F32(x)),
        NumbersMut::Bf16(x) => wide(Numbers::Bf16(x)),
    };
    store(
        all.iter().zip(found).enumerate().map(|(i, (&x, old))| if idle(d, i) { old } else { x.into() }),
        qkv,
    );
}

/// Whether a place in qkv is in the query of a token that does not ask.
fn idle(d: Dims, place: usize) -> bool {
    let width = d.heads * d.head_dim;
    place / (3 * width) % d.tokens >= d.queries && place % (3 * width) < width
}

/// dqkv without the queries of tokens that did not ask.
fn asked(d: Dims, dqkv: Numbers<'_>) -> Vec<f32> {
    wide(dqkv).into_iter().enumerate().map(|(i, x)| if idle(d, i) { 0.0 } else { x as f32 }).collect()
}

/// dw += dqkvᵀ x.
pub fn qkv_backward_weight(products: Products, d: Dims, dqkv: Numbers<'_>, x: Numbers<'_>, dw: &mut [f32]) {
    let (rows, width) = (d.batch * d.tokens, d.heads * d.head_dim);
    linear::backward_weight(products, rows, width, 3 * width, asked(d, dqkv)[..].into(), x, dw);
}

/// dx = dqkv w.
pub fn qkv_backward_input(products: Products, d: Dims, dqkv: Numbers<'_>, w: &[f32], dx: NumbersMut<'_>) {
    let (rows, width) = (d.batch * d.tokens, d.heads * d.head_dim);
    linear::backward_input(products, rows, width, 3 * width, asked(d, dqkv)[..].into(), w, dx);
}

/// out = softmax(scale · q kᵀ) v.
pub fn forward(
    products: Products,
    d: Dims,
    scale: f32,
    qkv: Numbers<'_>,
    out: NumbersMut<'_>,
    lse: &mut [f32],
) {
    let (qkv, mut all) = (wide(qkv), vec![0.0; out.len()]);
    each_query(d, |b, h, q, i| {
        let (l, p) = attend(d, scale, &qkv, b, h, q);
        lse[i] = l as f32;
        for c in 0..d.head_dim {
            let sum: f64 = (0..d.tokens).map(|t| factor(products, p[t]) * qkv[at(d, b, t, 2, h) + c]).sum();
            all[((b * d.queries + q) * d.heads + h) * d.head_dim + c] = sum;
        }
    });
    store(all, out);
}

/// The gradient of all of qkv, overwritten.
pub fn backward(
    products: Products,
    d: Dims,
    scale: f32,
    qkv: Numbers<'_>,
    out: Numbers<'_>,
    lse: &[f32],
    dout: Numbers<'_>,
    dqkv: NumbersMut<'_>,
) {
    let (qkv, out, dout) = (wide(qkv), wide(out), wide(dout));
    let mut sums = vec![0.0f64; dqkv.len()];
    each_query(d, |b, h, q, i| {
        let (l, p) = attend(d, scale, &qkv, b, h, q);
        debug_assert!((l - f64::from(lse[i])).abs() < 1e-3);
        let row = ((b * d.queries + q) * d.heads + h) * d.head_dim;
        let dout = &dout[row..row + d.head_dim];
        let mean = dot(dout, &out[row..row + d.head_dim]);
        for t in 0..d.tokens {
            let value = &qkv[at(d, b, t, 2, h)..][..d.head_dim];
            let ds = factor(products, p[t] * (dot(dout, value) - mean) * f64::from(scale));
            for c in 0..d.head_dim {
                sums[at(d, b, q, 0, h) + c] += ds * qkv[at(d, b, t, 1, h) + c];
                sums[at(d, b, t, 1, h) + c] += ds * qkv[at(d, b, q, 0, h) + c];
                sums[at(d, b, t, 2, h) + c] += factor(products, p[t]) * dout[c];
            }
        }
    });
    store(sums, dqkv);
}

/// softmax(scale · q kᵀ), (batch, heads, queries, tokens).
pub fn probabilities(_: Products, d: Dims, scale: f32, qkv: Numbers<'_>, probs: &mut [f32]) {
    let qkv = wide(qkv);
    each_query(d, |b, h, q, i| {
        let (_, p) = attend(d, scale, &qkv, b, h, q);
        for (t, p) in p.into_iter().enumerate() {
            probs[i * d.tokens + t] = p as f32;
        }
    });
}
