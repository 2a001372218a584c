//! Multi-head self-attention whose scores never leave the cache: softmax(scale · q kᵀ) v.
//!
//! qkv is (batch, tokens, 3, heads, head_dim), out (batch, queries, heads, head_dim), and the log of each query's sum of
//! exponentials, `lse`, (batch, heads, queries): with it backward recomputes the scores and no probabilities are kept.

use super::convert::{read, write};
use super::lanes::{dot, exp_negative, maximum, sum};
use super::product::{Matrix, Onto, Pieces, product_at};
use super::split::{each_part, each_task, with_scratch};
use super::transpose::transpose;
use crate::kernels::{Numbers, NumbersMut, Products};
use gemm::Parallelism;

mod dims;
pub use dims::Dims;

/// Scratch of one task: keys and values transposed, then the scores of a block of queries and their gradient. The
/// transposes spare each product from gathering its left factor, and whole vectors of tokens from being packed again.
struct Scratch<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
    scores: &'a mut [f32],
    grads: &'a mut [f32],
}

/// Lends scratch for a task, with or without what only backward needs.
fn with_parts<R>(d: Dims, backward: bool, work: impl FnOnce(Scratch<'_>) -> R) -> R {
    let (side, block) = (d.head_dim * d.padded(), d.block() * d.padded());
    with_scratch((side + block) * if backward { 2 } else { 1 }, |scratch| {
        let (keys, rest) = scratch.split_at_mut(side);
        let (scores, rest) = rest.split_at_mut(block);
        let (values, grads) = rest.split_at_mut(if backward { side } else { 0 });
        work(Scratch { keys, values, scores, grads })
    })
}

/// The transpose (head_dim, padded) of a head's part 1 (keys) or 2 (values), in `turned` or as it stands.
fn turn<'a>(d: Dims, qkv: &'a [f32], task: usize, part: usize, turned: &'a mut [f32]) -> Matrix<'a> {
    let part = &qkv[d.at(task, 0, part)..];
    if !d.turns() {
        return Matrix::transposed(part, d.stride());
    }
    transpose((d.tokens, d.head_dim), part, d.stride(), turned, d.padded());
    Matrix::rows(turned, d.padded())
}

/// out (block, padded) = scale · rows t, with t (head_dim, padded) from `turn`.
fn inner_products(d: Dims, scale: f32, rows: Matrix<'_>, turned: Matrix<'_>, out: &mut [f32]) {
    let shape = (out.len() / d.padded(), d.padded(), d.head_dim);
    // SAFETY: out is exclusively borrowed and holds as many rows as the shape says
    unsafe {
        product_at(
            shape,
            scale,
            rows,
            turned,
            out.as_mut_ptr(),
            d.padded(),
            Onto::Overwrite,
            Parallelism::None,
        );
    }
}

/// out and lse of every query.
pub fn forward(_: Products, d: Dims, scale: f32, qkv: Numbers<'_>, out: NumbersMut<'_>, lse: &mut [f32]) {
    let mut room = Vec::new();
    let qkv = read(qkv, 0..qkv.len(), &mut room);
    write(out, &mut Vec::new(), |out| forward_f32(d, scale, qkv, out, lse));
}

fn forward_f32(d: Dims, scale: f32, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    d.check(qkv, &[(out, d.head_dim), (lse, 1)]);
    let (out, lse) = (Pieces::of(out), Pieces::of(lse));
    each_task(d.batch * d.heads, |task| {
        with_parts(d, false, |s| {
            let keys = turn(d, qkv, task, 1, s.keys);
            for first in (0..d.queries).step_by(d.block()) {
                let block = d.block().min(d.queries - first);
                let scores = &mut s.scores[..block * d.padded()];
                // SAFETY: this (batch, head)'s rows of lse belong to this task
                let lse = unsafe { std::slice::from_raw_parts_mut(lse.at(task * d.queries + first), block) };
                let queries = Matrix::rows(&qkv[d.at(task, first, 0)..], d.stride());
                inner_products(d, scale, queries, keys, scores);
                exponentials(d.tokens, d.padded(), scores, lse);
                let values = Matrix::rows(&qkv[d.at(task, 0, 2)..], d.stride());
                let shape = (block, d.head_dim, d.tokens);
                let (p, o) = (Matrix::rows(scores, d.padded()), out.at(d.out_at(task, first)));
                // SAFETY: out has `block` such rows, and this (batch, head)'s columns of them belong to this task
                unsafe {
                    product_at(shape, 1.0, p, values, o, d.out_stride(), Onto::Overwrite, Parallelism::None);
                }
            }
        });
    });
}

/// The gradient of all of qkv, overwritten; tokens that did not ask get a zero for their query.
pub fn backward(
    _: Products,
    d: Dims,
    scale: f32,
    qkv: Numbers<'_>,
    out: Numbers<'_>,
    lse: &[f32],
    dout: Numbers<'_>,
    dqkv: NumbersMut<'_>,
) {
    let mut rooms = [Vec::new(), Vec::new(), Vec::new()];
    let [a, b, c] = &mut rooms;
    let (qkv, out, dout) =
        (read(qkv, 0..qkv.len(), a), read(out, 0..out.len(), b), read(dout, 0..dout.len(), c));
    write(dqkv, &mut Vec::new(), |dqkv| backward_f32(d, scale, qkv, out, lse, dout, dqkv));
}

fn backward_f32(d: Dims, scale: f32, qkv: &[f32], out: &[f32], lse: &[f32], dout: &[f32], dqkv: &mut [f32]) {
    d.check(qkv, &[(out, d.head_dim), (lse, 1), (dout, d.head_dim)]);
    assert_eq!(dqkv.len(), qkv.len(), "dqkv is shaped like qkv");
    let dqkv = Pieces::of(dqkv);
    let given = Given { scale, qkv, out, lse, dout };
    each_task(d.batch * d.heads, |task| {
        with_parts(d, true, |s| {
            let keys = turn(d, qkv, task, 1, s.keys);
            let values = turn(d, qkv, task, 2, s.values);
            for token in d.queries..d.tokens {
                // SAFETY: this (batch, head)'s part of dqkv belongs to this task
                unsafe { std::slice::from_raw_parts_mut(dqkv.at(d.at(task, token, 0)), d.head_dim) }
                    .fill(0.0);
            }
            for first in (0..d.queries).step_by(d.block()) {
                let mut work = Block { keys, values, scores: &mut *s.scores, grads: &mut *s.grads };
                backward_block(d, given, dqkv, task, first, &mut work);
            }
        });
    });
}

/// What backward reads.
#[derive(Clone, Copy)]
struct Given<'a> {
    scale: f32,
    qkv: &'a [f32],
    out: &'a [f32],
    lse: &'a [f32],
    dout: &'a [f32],
}

/// What backward of a block of queries works with: the head's keys and values from `turn`, and room for scores.
struct Block<'a> {
    keys: Matrix<'a>,
    values: Matrix<'a>,
    scores: &'a mut [f32],
    grads: &'a mut [f32],
}

/// Backward for one head's queries from `first` on.
fn backward_block(d: Dims, given: Given<'_>, dqkv: Pieces, task: usize, first: usize, s: &mut Block<'_>) {
    let (block, padded) = (d.block().min(d.queries - first), d.padded());
    let (scores, grads) = (&mut s.scores[..block * padded], &mut s.grads[..block * padded]);
    let part = |part: usize, token: usize| Matrix::rows(&given.qkv[d.at(task, token, part)..], d.stride());
    let o = d.out_at(task, first);
    let dy = Matrix::rows(&given.dout[o..], d.out_stride());
    inner_products(d, given.scale, part(0, first), s.keys, scores);
    inner_products(d, 1.0, dy, s.values, grads);
    for (q, (scores, grads)) in
        scores.chunks_exact_mut(padded).zip(grads.chunks_exact_mut(padded)).enumerate()
    {
        let span = o + q * d.out_stride()..o + q * d.out_stride() + d.head_dim;
        let (out, dout, lse) =
            (&given.out[span.clone()], &given.dout[span], given.lse[task * d.queries + first + q]);
        softmax_backward(given.scale, d.tokens, lse, out, dout, scores, grads);
    }
    let onto = if first == 0 { Onto::Overwrite } else { Onto::Add };
    let into = |part, token, m, k, a: Matrix<'_>, b: Matrix<'_>, onto| {
        let c = dqkv.at(d.at(task, token, part));
        // SAFETY: this (batch, head)'s part of dqkv belongs to this task, with m rows from this token on
        unsafe { product_at((m, d.head_dim, k), 1.0, a, b, c, d.stride(), onto, Parallelism::None) }
    };
    into(0, first, block, d.tokens, Matrix::rows(grads, padded), part(1, 0), Onto::Overwrite);
    into(1, 0, d.tokens, block, Matrix::transposed(grads, padded), part(0, first), onto);
    into(2, 0, d.tokens, block, Matrix::transposed(scores, padded), dy, onto);
}

/// The probabilities themselves, (batch, heads, queries, tokens), for attention maps.
pub fn probabilities(_: Products, d: Dims, scale: f32, qkv: Numbers<'_>, probs: &mut [f32]) {
    let mut room = Vec::new();
    let qkv = read(qkv, 0..qkv.len(), &mut room);
    d.check(qkv, &[(probs, d.tokens)]);
    each_part(d.queries * d.tokens, probs, |task, probs| {
        with_parts(d, false, |s| {
            let keys = turn(d, qkv, task, 1, s.keys);
            for (i, probs) in probs.chunks_mut(d.block() * d.tokens).enumerate() {
                let block = probs.len() / d.tokens;
                let scores = &mut s.scores[..block * d.padded()];
                let queries = Matrix::rows(&qkv[d.at(task, i * d.block(), 0)..], d.stride());
                inner_products(d, scale, queries, keys, scores);
                exponentials(d.tokens, d.padded(), scores, &mut vec![0.0; block]);
                for (p, s) in probs.chunks_exact_mut(d.tokens).zip(scores.chunks_exact(d.padded())) {
                    p.copy_from_slice(&s[..d.tokens]);
                }
            }
        });
    });
}

vectorised! {
    /// Turns rows of scores into probabilities and notes the log of each row's sum of exponentials.
    fn exponentials<I>(tokens: usize, padded: usize, scores: &mut [f32], lse: &mut [f32]) {
        for (row, lse) in scores.chunks_exact_mut(padded).zip(lse) {
            // nothing comes of the rest, and whole vectors are quicker than their pieces
            row[tokens..].fill(f32::NEG_INFINITY);
            let max = maximum::<I>(row);
            for s in row.iter_mut() {
                *s = exp_negative::<I>(*s - max);
            }
            let total = sum::<I>(row);
            let inverse = 1.0 / total;
            for s in row.iter_mut() {
                *s *= inverse;
            }
            *lse = max + total.ln();
        }
    }

    /// For one query: scores to probabilities p, and dp in `grads` to the scores' gradient p · (dp - out·dout) · scale.
    fn softmax_backward<I>(scale: f32, tokens: usize, lse: f32, out: &[f32], dout: &[f32], scores: &mut [f32], grads: &mut [f32]) {
        let mean = dot::<I>(out, dout);
        scores[tokens..].fill(f32::NEG_INFINITY);
        for (s, g) in scores.iter_mut().zip(grads) {
            let p = exp_negative::<I>(*s - lse);
            *g = p * (*g - mean) * scale;
            *s = p;
        }
    }
}

#[cfg(test)]
mod tests;
