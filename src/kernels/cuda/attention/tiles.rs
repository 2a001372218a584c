//! Attention on tensor cores (`source/attention.cu`): how queries and keys are shared out among blocks and warps.

use dfdx::prelude::CudaError;

use super::super::gpu::Gpu;
use super::super::launch::{Launch, launch};
use super::super::view::{Any, AnyMut, Kind, ViewMut};
use super::{Dims, Given, tasks};

/// Keys or queries that a block takes at a time.
const TILE: usize = 64;

/// Rows that a warp's products have.
const ROWS: usize = 16;

/// The kernel of this name for such heads and numbers.
macro_rules! kernel {
    ($name:literal, $d:expr, $kind:expr) => {
        kernel!(@of $name, $d, $kind, 32 "32", 64 "64", 96 "96", 128 "128")
    };
    (@of $name:literal, $d:expr, $kind:expr, $($dim:literal $word:literal),*) => {
        match ($d.head_dim, $kind) {
            $(($dim, Kind::Bf16) => concat!($name, "_", $word, "_bf16"),
            ($dim, Kind::F16) => concat!($name, "_", $word, "_f16"),)*
            (dim, kind) => unreachable!("heads of {dim} numbers of {kind:?} on tensor cores"),
        }
    };
}

/// How queries are shared out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    /// All warps work on the same 16 queries, each with keys of its own.
    Few,
    /// Each warp has so many times 16 queries of its own.
    Own(usize),
}

impl Share {
    /// With so many times 16 queries a warp where there are many: factors from shared memory then serve twice.
    fn of(d: Dims, many: usize) -> Share {
        match d.queries {
            ..=ROWS if d.tokens > 2 * ROWS => Share::Few,
            ..=TILE => Share::Own(1),
            _ => Share::Own(many),
        }
    }

    /// Queries and threads of a block: four warps, or fewer where blocks are then equally full.
    fn block(self, d: Dims) -> (usize, u32) {
        match self {
            Share::Few => (ROWS, 128),
            Share::Own(times) => {
                let each = times * ROWS;
                let warps = d.queries.div_ceil(each * d.queries.div_ceil(4 * each));
                (each * warps, 32 * warps as u32)
            }
        }
    }
}

/// As many as there are registers for.
fn many(d: Dims) -> usize {
    if d.head_dim <= 64 { 2 } else { 1 }
}

/// Bytes of so many rows in shared memory, which are a little longer than a head.
fn rows(d: Dims, count: usize) -> usize {
    count * (d.head_dim + 8) * 2
}

/// The shape as kernels take it.
fn sizes(d: Dims) -> (i32, i32, i32) {
    (d.tokens as i32, d.queries as i32, d.heads as i32)
}

pub fn forward(
    gpu: &Gpu,
    d: Dims,
    scale: f32,
    qkv: Any<'_>,
    out: AnyMut<'_>,
    lse: ViewMut<'_>,
) -> Result<(), CudaError> {
    let share = Share::of(d, many(d));
    let (queries, threads) = share.block(d);
    let kernel = match (share, d.head_dim, qkv.kind()) {
        (Share::Own(2), 32, Kind::Bf16) => "attention_forward_many_32_bf16",
        (Share::Own(2), 32, _) => "attention_forward_many_32_f16",
        (Share::Own(2), _, Kind::Bf16) => "attention_forward_many_64_bf16",
        (Share::Own(2), _, _) => "attention_forward_many_64_f16",
        (Share::Few, _, kind) => kernel!("attention_forward_few", d, kind),
        (_, _, kind) => kernel!("attention_forward", d, kind),
    };
    // a tile of keys and one of values, and as much again for the next; queries wait where the next will be
    let room = 2 * TILE + if d.tokens > TILE { 2 * TILE } else { queries };
    let blocks = Launch::blocks(tasks(d) * d.queries.div_ceil(queries), threads).shared(rows(d, room));
    let (tokens, asked, heads) = sizes(d);
    launch!(gpu, kernel, blocks; qkv, out, lse, tokens, asked, heads, scale)
}

pub fn backward(gpu: &Gpu, d: Dims, scale: f32, given: Given<'_>, dqkv: AnyMut<'_>) -> Result<(), CudaError> {
    if d.tokens <= TILE { whole(gpu, d, scale, given, dqkv) } else { by_tiles(gpu, d, scale, given, dqkv) }
}

/// A block for each head.
fn whole(gpu: &Gpu, d: Dims, scale: f32, given: Given<'_>, dqkv: AnyMut<'_>) -> Result<(), CudaError> {
    let Given { qkv, out, lse, dout } = given;
    let warps = d.tokens.div_ceil(ROWS);
    // queries, keys, values and the outputs' gradients; the scores' gradients; two numbers a query
    let room = rows(d, 4 * ROWS * warps) + ROWS * warps * (TILE + 8) * 2 + 2 * TILE * 4;
    let blocks = Launch::blocks(tasks(d), 32 * warps as u32).shared(room);
    let (tokens, queries, heads) = sizes(d);
    let kernel = kernel!("attention_backward_whole", d, qkv.kind());
    launch!(gpu, kernel, blocks; qkv, out, lse, dout, dqkv, tokens, queries, heads, scale)
}

/// The gradients of queries by blocks of queries, then those of keys and values by blocks of tokens.
fn by_tiles(gpu: &Gpu, d: Dims, scale: f32, given: Given<'_>, mut dqkv: AnyMut<'_>) -> Result<(), CudaError> {
    let Given { qkv, out, lse, dout } = given;
    let mut delta = gpu.unwritten(Kind::F32, lse.len())?;
    let (tokens, queries, heads) = sizes(d);
    let share = match Share::of(d, many(d)) {
        Share::Few => Share::Few,
        Share::Own(_) => Share::Own(many(d)),
    };
    let kernel = match share {
        Share::Few => kernel!("attention_backward_few", d, qkv.kind()),
        Share::Own(_) => kernel!("attention_backward_queries", d, qkv.kind()),
    };
    let (each, threads) = share.block(d);
    let blocks =
        Launch::blocks(tasks(d) * d.queries.div_ceil(each), threads).shared(rows(d, 4 * TILE + each));
    launch!(gpu, kernel, blocks; qkv, out, lse, dout, delta.view_mut(), dqkv.lend(), tokens, queries, heads, scale)?;
    let blocks = Launch::blocks(tasks(d) * d.tokens.div_ceil(TILE), 128);
    // two tiles twice, and two numbers for each of their queries
    let blocks = blocks.shared(rows(d, 4 * TILE) + 4 * TILE * 4);
    let kernel = kernel!("attention_backward_keys", d, qkv.kind());
    launch!(gpu, kernel, blocks; qkv, lse, dout, delta.view(), dqkv, tokens, queries, heads, scale)
}
