//! The layers of a vision transformer's block, typed by width.

use dfdx::prelude::{Const, Tensor};

use super::parameter::{Parameters, parameters};
use crate::tensor::{Device, Float};

/// Layer normalisation over W features. PyTorch equivalent: `LayerNorm(W, eps=1e-6)`.
#[derive(Clone, Debug)]
pub struct LayerNorm<const W: usize, D: Device> {
    pub gain: Tensor<(Const<W>,), Float, D>,
    pub bias: Tensor<(Const<W>,), Float, D>,
}

impl<const W: usize, D: Device> LayerNorm<W, D> {
    pub fn zeros(device: &D) -> Result<Self, D::Err> {
        Ok(LayerNorm { gain: device.try_zeros()?, bias: device.try_zeros()? })
    }
}

impl<const W: usize, D: Device> Parameters<D> for LayerNorm<W, D> {
    parameters!(self: gain "weight" [W], bias "bias" [W]);
}

/// Multi-head self-attention. Rows of `qkv`: queries, keys, values.
#[derive(Clone, Debug)]
pub struct Attention<const W: usize, const HEADS: usize, D: Device> {
    pub qkv: Tensor<(Const<3>, Const<W>, Const<W>), Float, D>,
    pub qkv_bias: Tensor<(Const<3>, Const<W>), Float, D>,
    pub proj: Tensor<(Const<W>, Const<W>), Float, D>,
    pub proj_bias: Tensor<(Const<W>,), Float, D>,
}

impl<const W: usize, const HEADS: usize, D: Device> Attention<W, HEADS, D> {
    pub fn zeros(device: &D) -> Result<Self, D::Err> {
        Ok(Attention {
            qkv: device.try_zeros()?,
            qkv_bias: device.try_zeros()?,
            proj: device.try_zeros()?,
            proj_bias: device.try_zeros()?,
        })
    }
}

impl<const W: usize, const HEADS: usize, D: Device> Parameters<D> for Attention<W, HEADS, D> {
    parameters!(self: qkv "qkv.weight" [3 * W, W], qkv_bias "qkv.bias" [3 * W],
        proj "proj.weight" [W, W], proj_bias "proj.bias" [W]);
}

/// The two linear layers around a GELU, four times as wide within.
#[derive(Clone, Debug)]
pub struct Mlp<const W: usize, D: Device> {
    pub fc1: Tensor<(Const<4>, Const<W>, Const<W>), Float, D>,
    pub fc1_bias: Tensor<(Const<4>, Const<W>), Float, D>,
    pub fc2: Tensor<(Const<W>, Const<4>, Const<W>), Float, D>,
    pub fc2_bias: Tensor<(Const<W>,), Float, D>,
}

impl<const W: usize, D: Device> Mlp<W, D> {
    pub fn zeros(device: &D) -> Result<Self, D::Err> {
        Ok(Mlp {
            fc1: device.try_zeros()?,
            fc1_bias: device.try_zeros()?,
            fc2: device.try_zeros()?,
            fc2_bias: device.try_zeros()?,
        })
    }
}

impl<const W: usize, D: Device> Parameters<D> for Mlp<W, D> {
    parameters!(self: fc1 "fc1.weight" [4 * W, W], fc1_bias "fc1.bias" [4 * W],
        fc2 "fc2.weight" [W, 4 * W], fc2_bias "fc2.bias" [W]);
}

/// One pre-norm block: x + attention(norm1(x)), then x + mlp(norm2(x)).
#[derive(Clone, Debug)]
pub struct Block<const W: usize, const HEADS: usize, D: Device> {
    pub norm1: LayerNorm<W, D>,
    pub attn: Attention<W, HEADS, D>,
    pub norm2: LayerNorm<W, D>,
    pub mlp: Mlp<W, D>,
}

impl<const W: usize, const HEADS: usize, D: Device> Block<W, HEADS, D> {
    pub fn zeros(device: &D) -> Result<Self, D::Err> {
        Ok(Block {
            norm1: LayerNorm::zeros(device)?,
            attn: Attention::zeros(device)?,
            norm2: LayerNorm::zeros(device)?,
            mlp: Mlp::zeros(device)?,
        })
    }
}

impl<const W: usize, const HEADS: usize, D: Device> Parameters<D> for Block<W, HEADS, D> {
    parameters!(self: ; nested norm1 "norm1", nested attn "attn", nested norm2 "norm2", nested mlp "mlp");
}
