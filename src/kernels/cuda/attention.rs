//! Multi-head self-attention whose scores never reach the GPU's memory: softmax(scale · q kᵀ) v.
//!
//! qkv is (batch, tokens, 3, heads, head_dim), out (batch, queries, heads, head_dim), lse (batch, heads, queries), as in
//! [`crate::kernels::cpu::attention`]. Numbers of 16 bits in heads of 32, 64, 96 or 128 go to tensor cores (`tiles`), all else
//! to plain f32 arithmetic (`plain`).

use dfdx::prelude::CudaError;

use super::convert::convert;
use super::gpu::Gpu;
use super::matrix::rounded;
use super::scratch::Memory;
use super::view::{Any, AnyMut, Kind, View, ViewMut};
use crate::kernels::{AttentionDims as Dims, Products};

mod plain;
mod qkv;
mod tiles;

pub use plain::probabilities;
pub use qkv::{qkv_backward_input, qkv_backward_weight, qkv_forward};

/// out = softmax(scale · q kᵀ) v, and the log of each query's sum of exponentials.
///
/// # Errors
/// When the driver refuses.
pub fn forward(
    gpu: &Gpu,
    _: Products,
    d: Dims,
    scale: f32,
    qkv: Any<'_>,
    mut out: AnyMut<'_>,
    lse: ViewMut<'_>,
) -> Result<(), CudaError> {
    check(d, scale, qkv.len(), &[(out.len(), d.head_dim), (lse.len(), 1)]);
    if qkv.kind() != out.kind() {
        let wide = rounded(gpu, Kind::F32, qkv)?;
        let mut made = gpu.unwritten(Kind::F32, out.len())?;
        plain::forward(gpu, d, scale, wide.as_ref().map_or(qkv, Memory::any), made.any_mut(), lse)?;
        return convert(gpu, made.any(), out.lend());
    }
    match suits_tiles(gpu, d, &[qkv, out.as_any()]) {
        true => tiles::forward(gpu, d, scale, qkv, out, lse),
        false => plain::forward(gpu, d, scale, qkv, out, lse),
    }
}

/// What the way back reads beside qkv.
#[derive(Clone, Copy)]
struct Given<'a> {
    qkv: Any<'a>,
    out: Any<'a>,
    lse: View<'a>,
    dout: Any<'a>,
}

/// The gradient of all of qkv, overwritten; tokens that did not ask get a zero for their query.
///
/// # Errors
/// When the driver refuses.
pub fn backward(
    gpu: &Gpu,
    _: Products,
    d: Dims,
    scale: f32,
    qkv: Any<'_>,
    out: Any<'_>,
    lse: View<'_>,
    dout: Any<'_>,
    mut dqkv: AnyMut<'_>,
) -> Result<(), CudaError> {
    check(d, scale, qkv.len(), &[(out.len(), d.head_dim), (lse.len(), 1), (dout.len(), d.head_dim)]);
    assert_eq!(dqkv.len(), qkv.len(), "dqkv is shaped like qkv");
    let given = Given { qkv, out, lse, dout };
    if [out.kind(), dout.kind(), dqkv.kind()].iter().any(|&kind| kind != qkv.kind()) {
        let rooms =
            [rounded(gpu, Kind::F32, qkv)?, rounded(gpu, Kind::F32, out)?, rounded(gpu, Kind::F32, dout)?];
        let [qkv_room, out_room, dout_room] = rooms.each_ref().map(Option::as_ref);
        let wide = Given {
            qkv: qkv_room.map_or(qkv, Memory::any),
            out: out_room.map_or(out, Memory::any),
            lse,
            dout: dout_room.map_or(dout, Memory::any),
        };
        let mut made = gpu.unwritten(Kind::F32, dqkv.len())?;
        plain::backward(gpu, d, scale, wide, made.any_mut())?;
        return convert(gpu, made.any(), dqkv.lend());
    }
    match suits_tiles(gpu, d, &[qkv, out, dout, dqkv.as_any()]) {
        true => tiles::backward(gpu, d, scale, given, dqkv),
        false => plain::backward(gpu, d, scale, given, dqkv),
    }
}

/// Whether these go to tensor cores: numbers of 16 bits that stand on boundaries of 16 bytes, in heads that kernels were made for, on
/// a card that copies while it works.
fn suits_tiles(gpu: &Gpu, d: Dims, numbers: &[Any<'_>]) -> bool {
    let suitable = |x: &Any<'_>| x.kind() != Kind::F32 && x.pointer().is_multiple_of(16);
    matches!(d.head_dim, 32 | 64 | 96 | 128) && numbers.iter().all(suitable) && gpu.generation() >= 8
}

/// Heads of all images.
fn tasks(d: Dims) -> usize {
    d.batch * d.heads
}

/// Panics unless qkv has its length, and every other buffer a row of its width for each head's query.
fn check(d: Dims, scale: f32, qkv: usize, rows: &[(usize, usize)]) {
    assert!(
        (1..=d.tokens).contains(&d.queries) && d.head_dim > 0,
        "attention asks for 1 to {} queries, not {}",
        d.tokens,
        d.queries
    );
    // the largest score is looked for before it is scaled
    assert!(scale > 0.0, "scores are scaled by a number above 0");
    let image = d.tokens * 3 * d.heads * d.head_dim;
    assert_eq!(qkv, d.batch * image, "qkv is (batch, tokens, 3, heads, head_dim)");
    assert!(i32::try_from(image).is_ok(), "places in one image are 32-bit numbers");
    for (length, width) in rows {
        assert_eq!(*length, tasks(d) * d.queries * width, "a row for each head's query");
    }
}

#[cfg(test)]
mod tests;
