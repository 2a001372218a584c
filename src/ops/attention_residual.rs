//! The first half of a block as one operation: x + s · proj(attention(qkv(norm1(x)))).

use dfdx::prelude::{Const, HasShape, PutTape, SplitTape, Tape, Tensor};

use super::mlp_residual::{NormBackward, normalized};
use super::survivors::{branch_gradient, rows, scale};
use super::{Survivors, take, with_gradients};
use crate::kernels::{AttentionDims, Kernels, Products, Rows};
use crate::nn::layers::{Attention, LayerNorm};
use crate::tensor::{Buffer, Float};

type Tokens<const W: usize, D, T = dfdx::prelude::NoneTape> = Tensor<(usize, usize, Const<W>), Float, D, T>;

/// What the backward step needs; the normalised input is computed again.
struct Kept<const W: usize, const HEADS: usize, D: Kernels> {
    x: Tokens<W, D>,
    qkv: D::Activations,
    out: D::Activations,
    lse: Tensor<(usize,), Float, D>,
    /// Of the images that the branch worked on.
    sizes: AttentionDims,
    survivors: Option<Survivors>,
    products: Products,
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
/// The branch works on the `survivors` alone, where some are dropped.
pub fn attention_residual<const W: usize, const HEADS: usize, D: Kernels, T: Tape<Float, D>>(
    x: Tokens<W, D, T>,
    norm: &LayerNorm<W, D>,
    attn: &Attention<W, HEADS, D>,
    queries: usize,
    survivors: Option<&Survivors>,
    products: Products,
) -> Result<Tokens<W, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let (device, ghost) = (x.device().clone(), x.ghost());
    let (batch, tokens, _) = *x.shape();
    let sizes = dims::<W, HEADS>(survivors.map_or(batch, |s| s.images.len()), tokens, queries);
    let asked = sizes.batch * queries;
    let qkv = packed(&device, &x, rows(survivors, batch, tokens), sizes, norm, attn, products)?;
    let mut out = device.activations(products, asked * W)?;
    let mut lse = device.empty((asked * HEADS,))?;
    let (out_view, lse_view) = (D::kept_mut(&mut out), D::view_mut(&mut lse));
    device.attention(products, sizes, temperature::<W, HEADS>(), D::kept(&qkv), out_view, lse_view)?;
    let y = project(&device, &x, &out, attn, queries, survivors, products)?;
    if T::OWNS_TAPE {
        let (norm, attn, survivors) = (norm.clone(), attn.clone(), survivors.cloned());
        let kept = Kept { x, qkv, out, lse, sizes, survivors, products, norm, attn };
        let y = y.ghost();
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            let end = backward(&device, grads, kept, &dy)?;
            with_gradients!(&device, grads; dx = &ghost, dgain = &end.norm.gain, dbias = &end.norm.bias => {
                if queries < tokens {
                    let to = D::buffer_mut(&mut dx);
                    device.add_first_tokens(batch, tokens, queries, W, D::buffer(&dy), to)?;
                }
                let around = (queries == tokens).then_some(&dy);
                end.run(&device, around, &mut dx, &mut dgain, &mut dbias)?;
            });
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// The first `queries` tokens of x plus the projection of what they attended to.
fn project<const W: usize, const HEADS: usize, D: Kernels>(
    device: &D,
    x: &Tokens<W, D>,
    out: &D::Activations,
    attn: &Attention<W, HEADS, D>,
    queries: usize,
    survivors: Option<&Survivors>,
    products: Products,
) -> Result<Tokens<W, D>, D::Err> {
    let batch = x.shape().0;
    let (weight, bias) = (D::view(&attn.proj), Some(D::view(&attn.proj_bias)));
    let mut y = device.empty((batch, queries, Const))?;
    let first = first_rows(device, x, queries)?;
    let (residual, to) = (D::view(first.as_ref().unwrap_or(x)), D::view_mut(&mut y));
    let (rows, scale) = (rows(survivors, batch, queries), scale(survivors));
    device.linear_residual(products, rows, W, W, scale, D::kept(out), weight, bias, residual, to)?;
    device.copy_others(rows, W, residual, D::view_mut(&mut y))?;
    Ok(y)
}

/// The CLS token's attention to every token, (batch, heads, 1, tokens) in a flat tensor. Never traced.
pub fn cls_attention<const W: usize, const HEADS: usize, D: Kernels>(
    x: &Tokens<W, D>,
    norm: &LayerNorm<W, D>,
    attn: &Attention<W, HEADS, D>,
    products: Products,
) -> Result<Tensor<(usize,), Float, D>, D::Err> {
    let (batch, tokens, _) = *x.shape();
    let device = x.device();
    let (sizes, scale) = (dims::<W, HEADS>(batch, tokens, 1), temperature::<W, HEADS>());
    let qkv = packed(device, x, Rows::All(batch * tokens), sizes, norm, attn, products)?;
    let mut probs = device.empty((batch * HEADS * tokens,))?;
    device.attention_probabilities(products, sizes, scale, D::kept(&qkv), D::view_mut(&mut probs))?;
    Ok(probs)
}

/// Keys and values of every token and queries of those that ask, (batch, tokens, 3, heads, head_dim).
fn packed<const W: usize, const HEADS: usize, D: Kernels>(
    device: &D,
    x: &Tokens<W, D>,
    rows: Rows<'_>,
    sizes: AttentionDims,
    norm: &LayerNorm<W, D>,
    attn: &Attention<W, HEADS, D>,
    products: Products,
) -> Result<D::Activations, D::Err> {
    let h = normalized(device, x, rows, norm, products)?.0;
    let mut qkv = device.activations(products, rows.len() * 3 * W)?;
    let (weight, bias, qkv_out) = (D::view(&attn.qkv), D::view(&attn.qkv_bias), D::kept_mut(&mut qkv));
    device.qkv(products, sizes, D::kept(&h), weight, bias, qkv_out)?;
    Ok(qkv)
}

/// The first tokens of each image apart, or nothing where all are asked.
fn first_rows<const W: usize, D: Kernels>(
    device: &D,
    x: &Tokens<W, D>,
    queries: usize,
) -> Result<Option<Tokens<W, D>>, D::Err> {
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
    dy: &Buffer<D>,
) -> Result<NormBackward<W, D>, D::Err> {
    let Kept { x, qkv, out, lse, sizes, survivors, products, norm, attn } = kept;
    let asked = sizes.batch * sizes.queries;
    let scaled = branch_gradient(device, products, survivors.as_ref(), sizes.queries, W, dy)?;
    let branch = scaled.as_ref().map_or(D::buffer(dy).into(), D::kept);
    with_gradients!(device, grads; dw = &attn.proj, db = &attn.proj_bias => {
        device.linear_backward_weight(products, asked, W, W, branch, D::kept(&out), D::buffer_mut(&mut dw))?;
        device.linear_backward_bias(asked, W, branch, D::buffer_mut(&mut db))?;
    });
    let mut dout = device.activations(products, asked * W)?;
    let (proj, dout_out) = (D::view(&attn.proj), D::kept_mut(&mut dout));
    device.linear_backward_input(products, asked, W, W, branch, proj, dout_out)?;
    let rows = rows(survivors.as_ref(), x.shape().0, x.shape().1);
    let mut dqkv = device.activations(products, rows.len() * 3 * W)?;
    let scores = temperature::<W, HEADS>();
    let (qkv_in, out_in, dout_in) = (D::kept(&qkv), D::kept(&out), D::kept(&dout));
    let dqkv_out = D::kept_mut(&mut dqkv);
    device.attention_backward(products, sizes, scores, qkv_in, out_in, D::view(&lse), dout_in, dqkv_out)?;
    drop((qkv, out, lse, dout, scaled));
    let (h, mean, rstd) = normalized(device, &x, rows, &norm, products)?;
    with_gradients!(device, grads; dw = &attn.qkv, db = &attn.qkv_bias => {
        let (dqkv, h) = (D::kept(&dqkv), D::kept(&h));
        device.qkv_backward_weight(products, sizes, dqkv, h, D::buffer_mut(&mut dw))?;
        device.linear_backward_bias(rows.len(), 3 * W, dqkv, D::buffer_mut(&mut db))?;
    });
    let mut dh = h;
    let (weight, dh_out) = (D::view(&attn.qkv), D::kept_mut(&mut dh));
    device.qkv_backward_input(products, sizes, D::kept(&dqkv), weight, dh_out)?;
    drop(dqkv);
    Ok(NormBackward { norm, x, dh, mean, rstd, survivors })
}
