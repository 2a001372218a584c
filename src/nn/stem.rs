//! What turns pixels into a ViT's tokens: one projection of each patch (Dosovitskiy et al. 2020), or early convolutions
//! (Xiao et al. 2021, "Early convolutions help transformers see better").

use dfdx::prelude::{Const, HasShape, Tensor};

use super::parameter::{Mut, Parameter, Parameters, Ref, parameters};
use crate::graph::spec::Stem as Choice;
use crate::tensor::{Device, Float};

/// A convolution of 3 × 3 with stride 2, normalised over its channels at each position, then GELU. The published stem has
/// batch norm; a layer norm keeps images apart, so that micro-batches add up to the whole batch exactly.
#[derive(Clone, Debug)]
pub struct ConvLayer<D: Device> {
    /// (out, 3 · 3 · inp), the input's channels innermost.
    pub weight: Tensor<(usize, usize), Float, D>,
    pub gain: Tensor<(usize,), Float, D>,
    pub bias: Tensor<(usize,), Float, D>,
}

impl<D: Device> ConvLayer<D> {
    /// Channels that come in.
    pub fn inp(&self) -> usize {
        self.weight.shape().1 / 9
    }

    /// Channels that go out.
    pub fn out(&self) -> usize {
        self.weight.shape().0
    }
}

impl<D: Device> Parameters<D> for ConvLayer<D> {
    parameters!(self: weight "conv.weight" [self.out(), 3, 3, self.inp()],
        gain "norm.weight" [self.gain.shape().0], bias "norm.bias" [self.bias.shape().0]);
}

/// The stem of a ViT of width `W` with patches of `P` × `P` pixels. A value lives once a network, so its size is of no account.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Stem<const W: usize, const P: usize, D: Device> {
    /// Each patch of pixels projected.
    Patch {
        proj: Tensor<(Const<W>, Const<3>, Const<P>, Const<P>), Float, D>,
        bias: Tensor<(Const<W>,), Float, D>,
    },
    /// Convolutions down to one position a patch, then a projection of 1 × 1.
    Conv {
        layers: Vec<ConvLayer<D>>,
        proj: Tensor<(Const<W>, usize), Float, D>,
        bias: Tensor<(Const<W>,), Float, D>,
    },
}

impl<const W: usize, const P: usize, D: Device> Stem<W, P, D> {
    /// All parameters zero.
    pub fn zeros(device: &D, choice: Choice) -> Result<Self, D::Err> {
        let bias = device.try_zeros()?;
        if choice == Choice::Patch {
            return Ok(Stem::Patch { proj: device.try_zeros()?, bias });
        }
        let channels = choice.channels(W, P);
        let layers = channels.windows(2).map(|pair| {
            Ok(ConvLayer {
                weight: device.try_zeros_like(&(pair[1], 9 * pair[0]))?,
                gain: device.try_zeros_like(&(pair[1],))?,
                bias: device.try_zeros_like(&(pair[1],))?,
            })
        });
        let layers = layers.collect::<Result<Vec<_>, D::Err>>()?;
        let last = channels.last().copied().unwrap_or(3); // a stem of no convolution would project the pixels themselves
        Ok(Stem::Conv { layers, proj: device.try_zeros_like(&(Const, last))?, bias })
    }
}

fn named<T>(prefix: &str, name: &str, dims: Vec<usize>, tensor: T) -> Parameter<T> {
    Parameter { name: format!("{prefix}{name}"), dims, fixed: false, tensor }
}

/// Both listings are one text: the convolutions in their order, then the projection.
macro_rules! stem_list {
    ($this:ident, $prefix:ident, $to:ident, $list:ident, $iter:ident) => {
        match $this {
            Stem::Patch { proj, bias } => {
                $to.push(named($prefix, "proj.weight", vec![W, 3, P, P], proj));
                $to.push(named($prefix, "proj.bias", vec![W], bias));
            }
            Stem::Conv { layers, proj, bias } => {
                for (i, layer) in layers.$iter().enumerate() {
                    layer.$list(&format!("{}stem.{i}.", $prefix), $to);
                }
                let inp = proj.shape().1;
                $to.push(named($prefix, "proj.weight", vec![W, inp, 1, 1], proj));
                $to.push(named($prefix, "proj.bias", vec![W], bias));
            }
        }
    };
}

impl<const W: usize, const P: usize, D: Device> Parameters<D> for Stem<W, P, D> {
    fn list<'a>(&'a self, prefix: &str, to: &mut Vec<Ref<'a, D>>) {
        stem_list!(self, prefix, to, list, iter);
    }

    fn list_mut<'a>(&'a mut self, prefix: &str, to: &mut Vec<Mut<'a, D>>) {
        stem_list!(self, prefix, to, list_mut, iter_mut);
    }
}
