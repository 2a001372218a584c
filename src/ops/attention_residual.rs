//! The first half of a block as one operation: x + s · proj(attention(qkv(norm1(x)))).

use dfdx::prelude::{Const, HasShape, PutTape, SplitTape, Tape, Tensor};

use super::mlp_residual::{normalized, scaled_gradient};
use super::{RowScale, take, with_gradients};
use crate::kernels::{AttentionDims, Kernels};
use crate::nn::layers::{Attention, LayerNorm};
use crate::tensor::{Buffer, Float};

/// What the backward step needs; the normalised input is computed again.
struct Kept<const W: usize, const HEADS: usize, D: Kernels> {
    x: Tensor<(usize, usize, Const<W>), Float, D>,
    qkv: Tensor<(usize,), Float, D>,
    out: Tensor<(usize,), Float, D>,
    lse: Tensor<(usize,), Float, D>,
    queries: usize,
    scale: Option<RowScale<D>>,
    norm: LayerNorm<W, D>,
    attn: Attention<W, HEADS, D>,
}

fn dims<const W: usize, const HEADS: usize>(batch: usize, tokens: usize, queries: usize) -> AttentionDims {
    AttentionDims { batch, tokens, queries, heads: HEADS, head_dim: W / HEADS }
}

/// Scores are scaled by head_dim^-0.5.
fn temperature<const W: usize, const HEADS: usize>() -> f32 {
    ((W / HEADS) as f32).powf(-0.5)
}

/// (batch, tokens, W) to (batch, queries, W): the first `queries` tokens (1 for CLS alone) attend to all.
/// `scale` holds one number an image (drop path); none is 1.
pub fn attention_residual<const W: usize, const HEADS: usize, D: Kernels, T: Tape<Float, D>>(
    x: Tensor<(usize, usize, Const<W>), Float, D, T>,
    norm: &LayerNorm<W, D>,
    attn: &Attention<W, HEADS, D>,
    queries: usize,
    scale: Option<&RowScale<D>>,
) -> Result<Tensor<(usize, usize, Const<W>), Float, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let (batch, tokens, _) = *x.shape();
    let qkv = packed(&device, &x, norm, attn)?;
    let (mut out, mut lse) =
        (device.empty((batch * queries * W,))?, device.empty((batch * HEADS * queries,))?);
    let sizes = dims::<W, HEADS>(batch, tokens, queries);
    let (out_view, lse_view) = (D::view_mut(&mut out), D::view_mut(&mut lse));
    device.attention(sizes, temperature::<W, HEADS>(), D::view(&qkv), out_view, lse_view)?;
    let mut y = device.empty((batch, queries, Const))?;
    let first = first_rows(&device, &x, queries)?;
    let residual = D::view(first.as_ref().unwrap_or(&x));
    let (rows, bias, row_scale) = (batch * queries, Some(D::view(&attn.proj_bias)), scale.map(D::view));
    let (out_view, proj) = (D::view(&out), D::view(&attn.proj));
    device.linear_residual(
        rows,
        W,
        W,
        out_view,
        proj,
        bias,
        row_scale,
        queries,
        residual,
        D::view_mut(&mut y),
    )?;
    if T::OWNS_TAPE {
        let (norm, attn, scale) = (norm.clone(), attn.clone(), scale.cloned());
        let kept = Kept { x, qkv, out, lse, queries, scale, norm, attn };
        let y = y.ghost();
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            backward(&device, grads, kept, dy)
        });
    }
    Ok(y.put_tape(tape))
}

/// The CLS token's attention to every token, (batch, heads, 1, tokens) in a flat tensor. Never traced.
pub fn cls_attention<const W: usize, const HEADS: usize, D: Kernels>(
    x: &Tensor<(usize, usize, Const<W>), Float, D>,
    norm: &LayerNorm<W, D>,
    attn: &Attention<W, HEADS, D>,
) -> Result<Tensor<(usize,), Float, D>, D::Err> {
    let (batch, tokens, _) = *x.shape();
    let device = x.device();
    let qkv = packed(device, x, norm, attn)?;
    let mut probs = device.empty((batch * HEADS * tokens,))?;
    let (sizes, scale) = (dims::<W, HEADS>(batch, tokens, 1), temperature::<W, HEADS>());
    device.attention_probabilities(sizes, scale, D::view(&qkv), D::view_mut(&mut probs))?;
    Ok(probs)
}

/// Queries, keys and values of every token, (batch, tokens, 3, heads, head_dim) in a flat tensor.
fn packed<const W: usize, const HEADS: usize, D: Kernels>(
    device: &D,
    x: &Tensor<(usize, usize, Const<W>), Float, D>,
    norm: &LayerNorm<W, D>,
    attn: &Attention<W, HEADS, D>,
) -> Result<Tensor<(usize,), Float, D>, D::Err> {
    let rows = x.shape().0 * x.shape().1;
    let h = normalized(device, x, norm)?.0;
    let mut qkv = device.empty((rows * 3 * W,))?;
    let (weight, bias) = (D::view(&attn.qkv), Some(D::view(&attn.qkv_bias)));
    device.linear(rows, W, 3 * W, D::view(&h), weight, bias, D::view_mut(&mut qkv))?;
    Ok(qkv)
}

/// The first tokens of each image apart, or nothing where all are asked.
fn first_rows<const W: usize, D: Kernels>(
    device: &D,
    x: &Tensor<(usize, usize, Const<W>), Float, D>,
    queries: usize,
) -> Result<Option<Tensor<(usize, usize, Const<W>), Float, D>>, D::Err> {
    let (batch, tokens, _) = *x.shape();
    if queries == tokens {
        return Ok(None);
    }
    let mut first = device.empty((batch, queries, Const))?;
    device.first_tokens(batch, tokens, queries, W, D::view(x), D::view_mut(&mut first))?;
    Ok(Some(first))
}

fn backward<const W: usize, const HEADS: usize, D: Kernels>(
    device: &D,
    grads: &mut dfdx::prelude::Gradients<Float, D>,
    kept: Kept<W, HEADS, D>,
    dy: Buffer<D>,
) -> Result<(), D::Err> {
    let Kept { x, qkv, out, lse, queries, scale, norm, attn } = kept;
    let (batch, tokens, _) = *x.shape();
    let (rows, asked) = (batch * tokens, batch * queries);
    let scaled = scaled_gradient(device, &dy, scale.as_ref(), queries, batch, W)?;
    let branch = scaled.as_ref().unwrap_or(&dy);
    with_gradients!(device, grads; dw = &attn.proj, db = &attn.proj_bias => {
        device.linear_backward_weight(asked, W, W, D::buffer(branch), D::view(&out), D::buffer_mut(&mut dw))?;
        device.linear_backward_bias(asked, W, D::buffer(branch), D::buffer_mut(&mut db))?;
    });
    let mut dout = device.empty((asked * W,))?;
    device.linear_backward_input(
        asked,
        W,
        W,
        D::buffer(branch),
        D::view(&attn.proj),
        D::view_mut(&mut dout),
        false,
    )?;
    let mut dqkv = device.empty((rows * 3 * W,))?;
    let (sizes, scores) = (dims::<W, HEADS>(batch, tokens, queries), temperature::<W, HEADS>());
    let (out_view, lse_view, dout_view) = (D::view(&out), D::view(&lse), D::view(&dout));
    device.attention_backward(
        sizes,
        scores,
        D::view(&qkv),
        out_view,
        lse_view,
        dout_view,
        D::view_mut(&mut dqkv),
    )?;
    drop((qkv, out, lse, dout, scaled));
    let (h, mean, rstd) = normalized(device, &x, &norm)?;
    with_gradients!(device, grads; dw = &attn.qkv, db = &attn.qkv_bias => {
        device.linear_backward_weight(rows, W, 3 * W, D::view(&dqkv), D::view(&h), D::buffer_mut(&mut dw))?;
        device.linear_backward_bias(rows, 3 * W, D::view(&dqkv), D::buffer_mut(&mut db))?;
    });
    let mut dh = h;
    device.linear_backward_input(
        rows,
        W,
        3 * W,
        D::view(&dqkv),
        D::view(&attn.qkv),
        D::view_mut(&mut dh),
        false,
    )?;
    drop(dqkv);
    with_gradients!(device, grads; dx = &x, dgain = &norm.gain, dbias = &norm.bias => {
        device.add_first_tokens(batch, tokens, queries, W, D::buffer(&dy), D::buffer_mut(&mut dx))?;
        device.layer_norm_backward(
            rows, W, D::view(&dh), D::view(&x), D::view(&norm.gain), D::view(&mean), D::view(&rstd),
            D::buffer_mut(&mut dx), D::buffer_mut(&mut dgain), D::buffer_mut(&mut dbias),
        )?;
    });
    Ok(())
}
