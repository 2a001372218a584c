//! Attention by plain f32 arithmetic (`source/attention_plain.cu`), for numbers of any kind in heads of any size.

use dfdx::prelude::CudaError;

use super::super::gpu::Gpu;
use super::super::launch::{Launch, launch};
use super::super::view::{Any, AnyMut, Kind, ViewMut};
use super::{Dims, Given, Products, check, tasks};

/// Columns of a head, and of the scores, that a block takes at a time.
const TILE: usize = 64;

const THREADS: u32 = 256;

macro_rules! kernel {
    ($name:literal, $kind:expr) => {
        match $kind {
            Kind::F32 => concat!($name, "_f32"),
            Kind::Bf16 => concat!($name, "_bf16"),
            Kind::F16 => concat!($name, "_f16"),
        }
    };
    // with a row or four of them a thread
    ($name:literal, $times:expr, $kind:expr) => {
        if $times == 1 { kernel!(@ $name, "_1", $kind) } else { kernel!(@ $name, "_4", $kind) }
    };
    (@ $name:literal, $times:literal, $kind:expr) => {
        match $kind {
            Kind::F32 => concat!($name, $times, "_f32"),
            Kind::Bf16 => concat!($name, $times, "_bf16"),
            Kind::F16 => concat!($name, $times, "_f16"),
        }
    };
}

/// Rows a thread, and blocks for so many rows of each head.
fn share(d: Dims, rows: usize) -> (usize, Launch) {
    let times = if rows <= 16 { 1 } else { 4 };
    let strips = d.head_dim.div_ceil(TILE);
    (times, Launch::blocks(tasks(d) * rows.div_ceil(16 * times) * strips, THREADS))
}

/// The shape as kernels take it.
fn sizes(d: Dims) -> (i32, i32, i32, i32) {
    (d.tokens as i32, d.queries as i32, d.heads as i32, d.head_dim as i32)
}

pub fn forward(
    gpu: &Gpu,
    d: Dims,
    scale: f32,
    qkv: Any<'_>,
    out: AnyMut<'_>,
    lse: ViewMut<'_>,
) -> Result<(), CudaError> {
    let (tokens, queries, heads, dim) = sizes(d);
    let (times, blocks) = share(d, d.queries);
    let kernel = kernel!("attention_plain_forward", times, qkv.kind());
    launch!(gpu, kernel, blocks; qkv, out, lse, tokens, queries, heads, dim, scale)
}

pub fn backward(
    gpu: &Gpu,
    d: Dims,
    scale: f32,
    given: Given<'_>,
    mut dqkv: AnyMut<'_>,
) -> Result<(), CudaError> {
    let Given { qkv, out, lse, dout } = given;
    let (kind, count) = (qkv.kind(), lse.len());
    let (tokens, queries, heads, dim) = sizes(d);
    let mut delta = gpu.unwritten(Kind::F32, count)?;
    let (kernel, warps) = (kernel!("attention_plain_deltas", kind), Launch::warps(count, THREADS));
    launch!(gpu, kernel, warps; out, dout, delta.view_mut(), count as i64, queries, heads, dim)?;
    let delta = delta.view();
    let (times, blocks) = share(d, d.queries);
    let kernel = kernel!("attention_plain_backward_queries", times, kind);
    launch!(gpu, kernel, blocks; qkv, lse, dout, delta, dqkv.lend(), tokens, queries, heads, dim, scale)?;
    let (times, blocks) = share(d, d.tokens);
    let kernel = kernel!("attention_plain_backward_keys", times, kind);
    launch!(gpu, kernel, blocks; qkv, lse, dout, delta, dqkv, tokens, queries, heads, dim, scale)
}

/// The probabilities themselves, (batch, heads, queries, tokens), for attention maps.
///
/// # Errors
/// When the driver refuses.
pub fn probabilities(
    gpu: &Gpu,
    _: Products,
    d: Dims,
    scale: f32,
    qkv: Any<'_>,
    probs: ViewMut<'_>,
) -> Result<(), CudaError> {
    check(d, scale, qkv.len(), &[(probs.len(), d.tokens)]);
    let (tokens, queries, heads, dim) = sizes(d);
    let count = tasks(d) * d.queries;
    let (kernel, warps) = (kernel!("attention_probabilities", qkv.kind()), Launch::warps(count, THREADS));
    launch!(gpu, kernel, warps; qkv, probs, count as i64, tokens, queries, heads, dim, scale)
}
