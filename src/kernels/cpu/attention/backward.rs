//! The gradient of queries, keys and values.

use super::softmax::{row_dots, softmax_backward};
use super::{Dims, Head, hand_on};
use crate::kernels::cpu::matrix::{Add, Matrix, Store, Within, product_here};
use crate::kernels::cpu::split::{each_task, with_scratch};
use crate::kernels::{Numbers, NumbersMut, Products};

/// What backward reads beside qkv.
#[derive(Clone, Copy)]
struct Given<'a> {
    scale: f32,
    out: Numbers<'a>,
    lse: &'a [f32],
    dout: Numbers<'a>,
}

/// Working memory of one head.
struct Room<'a> {
    /// Of a block of queries, (block, padded).
    scores: &'a mut [f32],
    grads: &'a mut [f32],
    /// Sums over all queries, (tokens, head_dim).
    dkeys: &'a mut [f32],
    dvalues: &'a mut [f32],
    /// Inner products of a block's outputs and their gradients.
    means: &'a mut [f32],
}

/// The gradient of all of qkv, overwritten; tokens that did not ask get a zero for their query.
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
    d.check(qkv.len(), &[(out.len(), d.head_dim), (lse.len(), 1), (dout.len(), d.head_dim)]);
    assert_eq!(dqkv.len(), qkv.len(), "dqkv is shaped like qkv");
    let dqkv = Store::new(None, d.stride(), dqkv);
    let given = Given { scale, out, lse, dout };
    let (block, side) = (d.block() * d.padded(), d.tokens * d.head_dim);
    each_task(d.batch * d.heads, |task| {
        with_scratch(2 * (block + side) + d.block(), |room| {
            let (scores, rest) = room.split_at_mut(block);
            let (grads, rest) = rest.split_at_mut(block);
            let (dkeys, rest) = rest.split_at_mut(side);
            let (dvalues, means) = rest.split_at_mut(side);
            let mut room = Room { scores, grads, dkeys, dvalues, means };
            let head = Head { products, d, qkv, task };
            for first in (0..d.queries).step_by(d.block()) {
                backward_block(head, given, &dqkv, first, &mut room);
            }
            let place = |token, part| (d.row(task, token), d.column(task, part));
            hand_on(&dqkv, place(0, 1), room.dkeys, d.head_dim);
            hand_on(&dqkv, place(0, 2), room.dvalues, d.head_dim);
            if d.queries < d.tokens {
                let idle = &mut room.dkeys[d.queries * d.head_dim..];
                idle.fill(0.0);
                hand_on(&dqkv, place(d.queries, 0), idle, d.head_dim);
            }
        });
    });
}

/// Backward for the head's queries from `first` on.
fn backward_block(head: Head<'_>, given: Given<'_>, dqkv: &Store<'_>, first: usize, room: &mut Room<'_>) {
    let Head { products, d, task, .. } = head;
    let (block, padded) = (d.block().min(d.queries - first), d.padded());
    let (scores, grads) = (&mut room.scores[..block * padded], &mut room.grads[..block * padded]);
    let (o, stride) = (d.out_at(task, first), d.out_stride());
    let dy = Matrix::rows(given.dout.slice(o..given.dout.len()), stride);
    head.inner_products(head.part(0, first), 1, scores);
    head.inner_products(dy, 2, grads);
    let span = o..o + (block - 1) * stride + d.head_dim;
    let (out, dout) = (given.out.slice(span.clone()), given.dout.slice(span));
    let means = &mut room.means[..block];
    row_dots(d.head_dim, stride, out, dout, means);
    let lse = &given.lse[task * d.queries + first..][..block];
    softmax_backward(given.scale, d.tokens, padded, lse, means, scores, grads);
    let (p, ds) = (Matrix::transposed(&*scores, padded), Matrix::transposed(&*grads, padded));
    let place = Within { row: d.row(task, first), column: d.column(task, 0), of: dqkv };
    let shape = (block, d.head_dim, d.tokens);
    product_here(products, shape, Matrix::rows(&*grads, padded), head.part(1, 0), &place);
    let shape = (d.tokens, d.head_dim, block);
    for (a, b, sum) in [(ds, head.part(0, first), &mut *room.dkeys), (p, dy, &mut *room.dvalues)] {
        if first == 0 {
            product_here(products, shape, a, b, &Store::new(None, d.head_dim, sum.into()));
        } else {
            product_here(products, shape, a, b, &Add::new(d.head_dim, sum));
        }
    }
}
