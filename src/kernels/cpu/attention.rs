//! Multi-head self-attention whose scores never leave the cache: softmax(scale · q kᵀ) v.
//!
//! qkv is (batch, tokens, 3, heads, head_dim), out (batch, queries, heads, head_dim), and the log of each query's sum of
//! exponentials, `lse`, (batch, heads, queries): with it backward recomputes the scores and no probabilities are kept.

use super::lanes::{dot, exp, fold, maximum};
use super::product::{Matrix, Onto, product_at};
use super::split::each_task;
use gemm::Parallelism;
use std::cell::RefCell;

/// The shape of an attention; only the first `queries` tokens of each sequence ask (1 for the CLS token alone).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    pub batch: usize,
    pub tokens: usize,
    pub queries: usize,
    pub heads: usize,
    pub head_dim: usize,
}

/// Scores kept at a time: with the gradient's as many again, they fit an L2 cache of 1 MiB.
const SCORES: usize = 1 << 16;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's scratch memory. The contents are whatever the last user left.
fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < length {
            scratch.resize(length, 0.0);
        }
        work(&mut scratch[..length])
    })
}

/// An output that tasks write disjoint, interleaved pieces of.
#[derive(Clone, Copy)]
struct Pieces(*mut f32);
// SAFETY: each task writes only the values of its own (batch, head)
unsafe impl Send for Pieces {}
// SAFETY: as above
unsafe impl Sync for Pieces {}

impl Pieces {
    /// The address of one value, as a method so that closures capture the whole wrapper.
    fn at(self, index: usize) -> *mut f32 {
        self.0.wrapping_add(index)
    }
}

impl Dims {
    /// From one token's query to the next token's.
    fn stride(self) -> usize {
        3 * self.heads * self.head_dim
    }

    /// From one query's output to the next one's.
    fn out_stride(self) -> usize {
        self.heads * self.head_dim
    }

    /// Queries to take at a time.
    fn block(self) -> usize {
        (SCORES / self.tokens).clamp(16, self.queries.max(16)).min(self.queries)
    }

    /// Where part 0 (query), 1 (key) or 2 (value) of a token starts in qkv.
    fn at(self, task: usize, token: usize, part: usize) -> usize {
        let (batch, head) = (task / self.heads, task % self.heads);
        (batch * self.tokens + token) * self.stride() + (part * self.heads + head) * self.head_dim
    }

    /// Where a query stands in out.
    fn out_at(self, task: usize, query: usize) -> usize {
        let (batch, head) = (task / self.heads, task % self.heads);
        (batch * self.queries + query) * self.out_stride() + head * self.head_dim
    }

    fn check(self, qkv: &[f32], rows: &[(&[f32], usize)]) {
        assert!(
            (1..=self.tokens).contains(&self.queries) && self.head_dim > 0,
            "attention asks for 1 to {} queries, not {}",
            self.tokens,
            self.queries
        );
        assert_eq!(
            qkv.len(),
            self.batch * self.tokens * self.stride(),
            "qkv is (batch, tokens, 3, heads, head_dim)"
        );
        for (slice, width) in rows {
            assert_eq!(
                slice.len(),
                self.batch * self.heads * self.queries * width,
                "a row for each head's query"
            );
        }
    }
}

/// scores (block, tokens) = scale · q kᵀ of the queries from `first` on.
fn score(d: Dims, scale: f32, qkv: &[f32], task: usize, first: usize, scores: &mut [f32]) {
    let block = scores.len() / d.tokens;
    let queries = Matrix::rows(&qkv[d.at(task, first, 0)..], d.stride());
    let keys = Matrix::transposed(&qkv[d.at(task, 0, 1)..], d.stride());
    let shape = (block, d.tokens, d.head_dim);
    // SAFETY: scores is exclusively borrowed and has `block` rows of `tokens`
    unsafe {
        product_at(
            shape,
            scale,
            queries,
            keys,
            scores.as_mut_ptr(),
            d.tokens,
            Onto::Overwrite,
            Parallelism::None,
        );
    }
}

/// out and lse of every query.
pub fn forward(d: Dims, scale: f32, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    d.check(qkv, &[(out, d.head_dim), (lse, 1)]);
    let (out, lse) = (Pieces(out.as_mut_ptr()), Pieces(lse.as_mut_ptr()));
    each_task(d.batch * d.heads, |task| {
        with_scratch(d.block() * d.tokens, |scratch| {
            for first in (0..d.queries).step_by(d.block()) {
                let block = d.block().min(d.queries - first);
                let scores = &mut scratch[..block * d.tokens];
                score(d, scale, qkv, task, first, scores);
                // SAFETY: this (batch, head)'s rows of lse belong to this task
                let lse = unsafe { std::slice::from_raw_parts_mut(lse.at(task * d.queries + first), block) };
                exponentials(d.tokens, scores, lse);
                let values = Matrix::rows(&qkv[d.at(task, 0, 2)..], d.stride());
                let shape = (block, d.head_dim, d.tokens);
                let probabilities = Matrix::rows(scores, d.tokens);
                let o = out.at(d.out_at(task, first));
                // SAFETY: out has `block` such rows, and this (batch, head)'s columns of them belong to this task
                unsafe {
                    product_at(
                        shape,
                        1.0,
                        probabilities,
                        values,
                        o,
                        d.out_stride(),
                        Onto::Overwrite,
                        Parallelism::None,
                    );
                }
            }
        });
    });
}

/// The gradient of all of qkv, overwritten; tokens that did not ask get a zero for their query.
pub fn backward(d: Dims, scale: f32, qkv: &[f32], out: &[f32], lse: &[f32], dout: &[f32], dqkv: &mut [f32]) {
    d.check(qkv, &[(out, d.head_dim), (lse, 1), (dout, d.head_dim)]);
    assert_eq!(dqkv.len(), qkv.len(), "dqkv is shaped like qkv");
    let dqkv = Pieces(dqkv.as_mut_ptr());
    each_task(d.batch * d.heads, |task| {
        with_scratch(2 * d.block() * d.tokens, |scratch| {
            for token in d.queries..d.tokens {
                // SAFETY: this (batch, head)'s part of dqkv belongs to this task
                unsafe { std::slice::from_raw_parts_mut(dqkv.at(d.at(task, token, 0)), d.head_dim) }
                    .fill(0.0);
            }
            for first in (0..d.queries).step_by(d.block()) {
                let block = d.block().min(d.queries - first);
                let (scores, rest) = scratch.split_at_mut(block * d.tokens);
                let grads = &mut rest[..block * d.tokens];
                backward_block(d, scale, qkv, out, lse, dout, dqkv, task, first, scores, grads);
            }
        });
    });
}

/// Backward for one head's queries from `first` on.
fn backward_block(
    d: Dims,
    scale: f32,
    qkv: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dqkv: Pieces,
    task: usize,
    first: usize,
    scores: &mut [f32],
    grads: &mut [f32],
) {
    let block = scores.len() / d.tokens;
    let part = |part: usize, token: usize| Matrix::rows(&qkv[d.at(task, token, part)..], d.stride());
    let o = d.out_at(task, first);
    let dy = Matrix::rows(&dout[o..], d.out_stride());
    let product = |shape, a, b, c: *mut f32, row, onto| {
        // SAFETY: c is scratch, or this (batch, head)'s part of dqkv, with rows as far apart as the caller says
        unsafe { product_at(shape, 1.0, a, b, c, row, onto, Parallelism::None) }
    };
    score(d, scale, qkv, task, first, scores);
    let values = Matrix { row: 1, col: d.stride(), ..part(2, 0) };
    product((block, d.tokens, d.head_dim), dy, values, grads.as_mut_ptr(), d.tokens, Onto::Overwrite);
    for q in 0..block {
        let span = o + q * d.out_stride()..o + q * d.out_stride() + d.head_dim;
        let row = q * d.tokens..(q + 1) * d.tokens;
        let l = lse[task * d.queries + first + q];
        softmax_backward(
            scale,
            l,
            &out[span.clone()],
            &dout[span],
            &mut scores[row.clone()],
            &mut grads[row],
        );
    }
    let onto = if first == 0 { Onto::Overwrite } else { Onto::Add };
    let (p, ds) = (&*scores, &*grads);
    let at = |part, token| dqkv.at(d.at(task, token, part));
    product(
        (block, d.head_dim, d.tokens),
        Matrix::rows(ds, d.tokens),
        part(1, 0),
        at(0, first),
        d.stride(),
        Onto::Overwrite,
    );
    product(
        (d.tokens, d.head_dim, block),
        Matrix::transposed(ds, d.tokens),
        part(0, first),
        at(1, 0),
        d.stride(),
        onto,
    );
    product((d.tokens, d.head_dim, block), Matrix::transposed(p, d.tokens), dy, at(2, 0), d.stride(), onto);
}

/// The probabilities themselves, (batch, heads, queries, tokens), for attention maps.
pub fn probabilities(d: Dims, scale: f32, qkv: &[f32], probs: &mut [f32]) {
    d.check(qkv, &[(probs, d.tokens)]);
    super::split::each_part(d.queries * d.tokens, probs, |task, probs| {
        score(d, scale, qkv, task, 0, probs);
        exponentials(d.tokens, probs, &mut vec![0.0; d.queries]);
    });
}

vectorised! {
    /// Turns rows of scores into probabilities and notes the log of each row's sum of exponentials.
    fn exponentials<FUSED>(tokens: usize, scores: &mut [f32], lse: &mut [f32]) {
        for (row, lse) in scores.chunks_exact_mut(tokens).zip(lse) {
            let max = maximum(row);
            for s in row.iter_mut() {
                *s = exp::<FUSED>(*s - max);
            }
            let total = fold(row, 0.0, |a, v| a + v, |a, b| a + b);
            let inverse = 1.0 / total;
            for s in row.iter_mut() {
                *s *= inverse;
            }
            *lse = max + total.ln();
        }
    }

    /// For one query: scores to probabilities p, and dp in `grads` to the scores' gradient p · (dp - out·dout) · scale.
    fn softmax_backward<FUSED>(scale: f32, lse: f32, out: &[f32], dout: &[f32], scores: &mut [f32], grads: &mut [f32]) {
        let mean = dot::<FUSED>(out, dout);
        for (s, g) in scores.iter_mut().zip(grads) {
            let p = exp::<FUSED>(*s - lse);
            *g = p * (*g - mean) * scale;
            *s = p;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dims;
    use crate::kernels::probe::{differentiates, poison, values, weighted};
    use crate::kernels::scalar;

    fn check(d: Dims) {
        let scale = (d.head_dim as f32).powf(-0.5);
        let (count, width) = (d.batch * d.heads * d.queries, d.stride());
        let qkv = values("qkv", d.batch * d.tokens * width);
        let dout = values("dout", count * d.head_dim);
        let (mut out, mut lse) = (poison(count * d.head_dim), poison(count));
        scalar::attention::forward(d, scale, &qkv, &mut out, &mut lse);
        twins!(
            3e-6,
            attention::forward(d, scale, &qkv, o, l),
            o = poison(count * d.head_dim),
            l = poison(count)
        );
        twins!(3e-6, attention::probabilities(d, scale, &qkv, p), p = poison(count * d.tokens));
        twins!(1e-5, attention::backward(d, scale, &qkv, &out, &lse, &dout, dqkv), dqkv = poison(qkv.len()));
    }

    #[test]
    fn fast_attention_agrees_with_its_twin() {
        for (batch, tokens, queries, heads, head_dim) in [
            (1, 1, 1, 1, 5),
            (2, 3, 3, 2, 64),
            (2, 17, 1, 3, 16),
            (1, 37, 37, 6, 64),
            (3, 37, 1, 2, 64),
            (1, 197, 197, 2, 64),
            (2, 197, 5, 1, 33),
            (1, 785, 300, 1, 64),
        ] {
            check(Dims { batch, tokens, queries, heads, head_dim });
        }
    }

    #[test]
    fn scalar_attention_differentiates() {
        let d = Dims { batch: 1, tokens: 4, queries: 2, heads: 2, head_dim: 3 };
        let (qkv, dout) = (values("qkv", 72), values("dout", 12));
        let run = |qkv: &[f32]| {
            let (mut out, mut lse) = (poison(12), poison(4));
            scalar::attention::forward(d, 0.7, qkv, &mut out, &mut lse);
            (weighted(&dout, &out), out, lse)
        };
        let (_, out, lse) = run(&qkv);
        let mut dqkv = poison(72);
        scalar::attention::backward(d, 0.7, &qkv, &out, &lse, &dout, &mut dqkv);
        differentiates("dqkv", &qkv, &dqkv, |qkv| run(qkv).0);
    }
}
