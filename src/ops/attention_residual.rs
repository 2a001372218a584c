//! The first half of a block: x + s · proj(attention(qkv(norm1(x)))).

use dfdx::prelude::{Gradients, Tensor};

use super::mlp_residual::{NormBackward, Normalized, normalized};
use super::survivors::{branch_gradient, rows, scale};
use super::{Stream, Survivors, with_gradients};
use crate::kernels::{AttentionDims, Kernels, Products, Rows};
use crate::nn::layers::{Attention, Block, LayerNorm};
use crate::tensor::{Buffer, Float};

/// What the way back needs; the normalised input is computed again.
pub(super) struct Kept<const W: usize, const HEADS: usize, D: Kernels> {
    x: Stream<W, D>,
    qkv: D::Activations,
    out: D::Activations,
    lse: D::Activations,
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

/// (images, tokens, W) to (images, queries, W): the first `queries` tokens (1 for CLS alone) attend to all.
/// The branch works on the `survivors` alone, where some are dropped; `keeps` says whether there is a way back.
pub(super) fn forward<const W: usize, const HEADS: usize, D: Kernels>(
    device: &D,
    x: &Stream<W, D>,
    block: &Block<W, HEADS, D>,
    queries: usize,
    survivors: Option<&Survivors>,
    products: Products,
    keeps: bool,
) -> Result<(Stream<W, D>, Option<Kept<W, HEADS, D>>), D::Err> {
    let (images, tokens, norm, attn) = (x.images(), x.tokens(), &block.norm1, &block.attn);
    let sizes = dims::<W, HEADS>(survivors.map_or(images, |s| s.images.len()), tokens, queries);
    let asked = sizes.batch * queries;
    let qkv = packed(device, x, rows(survivors, images, tokens), sizes, norm, attn, products)?;
    let mut out = device.activations(products, asked * W)?;
    let mut lse = device.activations(Products::F32, asked * HEADS)?;
    let (out_view, lse_view) = (D::kept_mut(&mut out), D::wide_mut(&mut lse));
    device.attention(products, sizes, temperature::<W, HEADS>(), D::kept(&qkv), out_view, lse_view)?;
    let y = project(device, x, &out, attn, queries, survivors, products)?;
    let kept = keeps.then(|| {
        let (x, norm, attn, survivors) = (x.clone(), norm.clone(), attn.clone(), survivors.cloned());
        Kept { x, qkv, out, lse, sizes, survivors, products, norm, attn }
    });
    Ok((y, kept))
}

/// The first `queries` tokens of x plus the projection of what they attended to.
fn project<const W: usize, const HEADS: usize, D: Kernels>(
    device: &D,
    x: &Stream<W, D>,
    out: &D::Activations,
    attn: &Attention<W, HEADS, D>,
    queries: usize,
    survivors: Option<&Survivors>,
    products: Products,
) -> Result<Stream<W, D>, D::Err> {
    let images = x.images();
    let (weight, bias) = (D::view(&attn.proj), Some(D::view(&attn.proj_bias)));
    let first = first_rows(device, x, queries)?;
    let residual = first.as_ref().unwrap_or(x).view();
    let (rows, scale) = (rows(survivors, images, queries), scale(survivors));
    Stream::written(device, images, queries, |y| {
        let to = D::wide_mut(y);
        device.linear_residual(products, rows, W, W, scale, D::kept(out), weight, bias, residual, to)?;
        device.copy_others(rows, W, residual, D::wide_mut(y))
    })
}

/// The CLS token's attention to every token, (batch, heads, 1, tokens) in a flat tensor. Never traced.
pub fn cls_attention<const W: usize, const HEADS: usize, D: Kernels>(
    device: &D,
    x: &Stream<W, D>,
    norm: &LayerNorm<W, D>,
    attn: &Attention<W, HEADS, D>,
    products: Products,
) -> Result<Tensor<(usize,), Float, D>, D::Err> {
    let (images, tokens) = (x.images(), x.tokens());
    let (sizes, scale) = (dims::<W, HEADS>(images, tokens, 1), temperature::<W, HEADS>());
    let qkv = packed(device, x, Rows::All(images * tokens), sizes, norm, attn, products)?;
    let mut probs = device.empty((images * HEADS * tokens,))?;
    device.attention_probabilities(products, sizes, scale, D::kept(&qkv), D::view_mut(&mut probs))?;
    Ok(probs)
}

/// Keys and values of every token and queries of those that ask, (batch, tokens, 3, heads, head_dim).
fn packed<const W: usize, const HEADS: usize, D: Kernels>(
    device: &D,
    x: &Stream<W, D>,
    rows: Rows<'_>,
    sizes: AttentionDims,
    norm: &LayerNorm<W, D>,
    attn: &Attention<W, HEADS, D>,
    products: Products,
) -> Result<D::Activations, D::Err> {
    let h = normalized(device, x, rows, norm, products)?.numbers;
    let mut qkv = device.activations(products, rows.len() * 3 * W)?;
    let (weight, bias, qkv_out) = (D::view(&attn.qkv), D::view(&attn.qkv_bias), D::kept_mut(&mut qkv));
    device.qkv(products, sizes, D::kept(&h), weight, bias, qkv_out)?;
    Ok(qkv)
}

/// The first tokens of each image apart, or nothing where all are asked.
fn first_rows<const W: usize, D: Kernels>(
    device: &D,
    x: &Stream<W, D>,
    queries: usize,
) -> Result<Option<Stream<W, D>>, D::Err> {
    let (images, tokens) = (x.images(), x.tokens());
    if queries == tokens {
        return Ok(None);
    }
    let first = Stream::written(device, images, queries, |first| {
        device.first_tokens(images, tokens, queries, W, x.view(), D::wide_mut(first))
    })?;
    Ok(Some(first))
}

impl<const W: usize, const HEADS: usize, D: Kernels> Kept<W, HEADS, D> {
    /// The gradient of x, from that of the half's output.
    pub fn back(
        self,
        device: &D,
        grads: &mut Gradients<Float, D>,
        gradient: Buffer<D>,
    ) -> Result<Buffer<D>, D::Err> {
        let (images, tokens, queries) = (self.x.images(), self.x.tokens(), self.sizes.queries);
        let end = backward(device, grads, self, &gradient)?;
        let mut dx = gradient;
        if queries < tokens {
            // what came around the branch goes to the tokens that asked
            let asked = std::mem::replace(&mut dx, device.zeroed(images * tokens * W)?);
            let to = D::buffer_mut(&mut dx);
            device.add_first_tokens(images, tokens, queries, W, D::buffer(&asked), to)?;
        }
        end.add_to(device, grads, &mut dx)?;
        Ok(dx)
    }
}

fn backward<const W: usize, const HEADS: usize, D: Kernels>(
    device: &D,
    grads: &mut Gradients<Float, D>,
    kept: Kept<W, HEADS, D>,
    dy: &Buffer<D>,
) -> Result<NormBackward<W, D>, D::Err> {
    let Kept { x, qkv, out, lse, sizes, survivors, products, norm, attn } = kept;
    let asked = sizes.batch * sizes.queries;
    let scaled;
    with_gradients!(device, grads; db = &attn.proj_bias => {
        scaled = branch_gradient(device, products, survivors.as_ref(), sizes.queries, W, dy, &mut db)?;
    });
    let branch = scaled.as_ref().map_or(D::buffer(dy).into(), D::kept);
    with_gradients!(device, grads; dw = &attn.proj => {
        device.linear_backward_weight(products, asked, W, W, branch, D::kept(&out), D::buffer_mut(&mut dw))?;
    });
    let mut dout = device.activations(products, asked * W)?;
    let (proj, dout_out) = (D::view(&attn.proj), D::kept_mut(&mut dout));
    device.linear_backward_input(products, asked, W, W, branch, proj, dout_out)?;
    let rows = rows(survivors.as_ref(), x.images(), x.tokens());
    let mut dqkv = device.activations(products, rows.len() * 3 * W)?;
    let scores = temperature::<W, HEADS>();
    let (qkv_in, out_in, dout_in) = (D::kept(&qkv), D::kept(&out), D::kept(&dout));
    let dqkv_out = D::kept_mut(&mut dqkv);
    device.attention_backward(products, sizes, scores, qkv_in, out_in, D::wide(&lse), dout_in, dqkv_out)?;
    drop((qkv, out, lse, dout, scaled));
    let Normalized { numbers: h, mean, rstd } = normalized(device, &x, rows, &norm, products)?;
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
