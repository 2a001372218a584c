//! DINO's projection head (section 3.1): MLP, L2-normalised bottleneck, weight-normalised linear layer.

use dfdx::prelude::{Const, Dim, HasShape, Tape, Tensor};

use super::batch_norm::{BatchNorm, Norms};
use super::parameter::{Mut, Parameter, Parameters, Ref, parameters};
use crate::graph::spec::{Activation, HeadSpec};
use crate::kernels::{Kernels, Products};
use crate::ops;
use crate::tensor::{Device, Float};

type Rows<W, D, T> = Tensor<(usize, W), Float, D, T>;

/// One linear layer of the MLP.
#[derive(Clone, Debug)]
struct Linear<I: Dim, D: Device> {
    weight: Tensor<(usize, I), Float, D>,
    bias: Tensor<(usize,), Float, D>,
}

impl<I: Dim, D: Device> Linear<I, D> {
    fn zeros(device: &D, inp: I, out: usize) -> Result<Self, D::Err> {
        Ok(Linear { weight: device.try_zeros_like(&(out, inp))?, bias: device.try_zeros_like(&(out,))? })
    }
}

impl<I: Dim, D: Device> Parameters<D> for Linear<I, D> {
    parameters!(self: weight "weight" [self.weight.shape().0, self.weight.shape().1.size()],
        bias "bias" [self.bias.shape().0]);
}

/// Directions and magnitudes of the prototypes.
#[derive(Clone, Debug)]
struct Prototypes<D: Device> {
    weight_v: Tensor<(usize, usize), Float, D>,
    weight_g: Tensor<(usize,), Float, D>,
}

/// The head over features of width `W`; the other widths are known at run time.
#[derive(Clone, Debug)]
pub struct Head<const W: usize, D: Device> {
    first: Linear<Const<W>, D>,
    /// The MLP's other layers; the last of all is the bottleneck's.
    rest: Vec<Linear<usize, D>>,
    /// One behind each hidden layer, or none at all.
    norms: Vec<BatchNorm<D>>,
    prototypes: Option<Prototypes<D>>,
    spec: HeadSpec,
    /// The precision of its products.
    products: Products,
}

impl<const W: usize, D: Kernels> Head<W, D> {
    /// All parameters zero.
    pub fn zeros(device: &D, spec: &HeadSpec, products: Products) -> Result<Self, D::Err> {
        let row = |len: usize| device.try_zeros_like(&(len,));
        let hidden = spec.hidden_layers();
        let out = |layer: usize| if layer < hidden { spec.hidden } else { spec.bottleneck };
        let norms = if spec.batch_norm { hidden } else { 0 };
        let norm = |_| BatchNorm::zeros(device, spec.hidden);
        let prototypes = || {
            let weight_v = device.try_zeros_like(&(spec.out_dim, spec.bottleneck))?;
            Ok(Prototypes { weight_v, weight_g: row(spec.out_dim)? })
        };
        Ok(Head {
            first: Linear::zeros(device, Const::<W>, out(0))?,
            rest: (1..=hidden)
                .map(|layer| Linear::zeros(device, spec.hidden, out(layer)))
                .collect::<Result<_, _>>()?,
            norms: (0..norms).map(norm).collect::<Result<_, _>>()?,
            prototypes: if spec.prototypes { Some(prototypes()?) } else { None },
            spec: spec.clone(),
            products,
        })
    }

    /// Features (rows, W) to logits (rows, outputs).
    pub fn forward<T: Tape<Float, D>>(
        &self,
        x: Rows<Const<W>, D, T>,
        norms: &mut Norms<'_, D>,
    ) -> Result<Rows<usize, D, T>, D::Err> {
        let mut x = self.layer(0, x, &self.first, norms)?;
        for (i, layer) in self.rest.iter().enumerate() {
            x = self.layer(i + 1, x, layer, norms)?;
        }
        if self.spec.l2 {
            x = ops::l2_normalize(x)?;
        }
        match &self.prototypes {
            None => Ok(x),
            Some(Prototypes { weight_v, weight_g }) => {
                ops::weight_normed(x, weight_v, weight_g, self.spec.norm_last_layer, self.products)
            }
        }
    }

    /// One layer of the MLP, and what follows it: norm and activation where it is a hidden one.
    fn layer<I: Dim, T: Tape<Float, D>>(
        &self,
        index: usize,
        x: Rows<I, D, T>,
        Linear { weight, bias }: &Linear<I, D>,
        norms: &mut Norms<'_, D>,
    ) -> Result<Rows<usize, D, T>, D::Err> {
        let (hidden, products) = (index < self.spec.hidden_layers(), self.products);
        let relu = self.spec.activation == Activation::Relu;
        match self.norms.get(index) {
            _ if !hidden => ops::linear(x, weight, bias, products),
            None if relu => ops::relu(ops::linear(x, weight, bias, products)?),
            None => ops::linear_gelu(x, weight, bias, products),
            Some(norm) => {
                let (x, key) = (ops::linear(x, weight, bias, products)?, self.norm_key(index));
                let x = norm.forward(x, None, relu, key, norms)?;
                if relu { Ok(x) } else { ops::gelu(x) }
            }
        }
    }

    /// The published key of the batch norm behind a layer: `head.mlp.1`, `head.mlp.4`.
    fn norm_key(&self, layer: usize) -> String {
        format!("head.mlp.{}", self.place(layer) + 1)
    }

    /// The position of a linear layer in the published `mlp`, which counts norms and activations too.
    fn place(&self, layer: usize) -> usize {
        layer * if self.spec.batch_norm { 3 } else { 2 }
    }
}

fn named<T>(name: String, dims: Vec<usize>, fixed: bool, tensor: T) -> Parameter<T> {
    Parameter { name, dims, fixed, tensor }
}

/// Both listings of the head are one text: the published order puts each norm behind its linear layer.
macro_rules! head_list {
    ($this:ident, $prefix:ident, $to:ident, $list:ident, $iter:ident, $as:ident) => {{
        let HeadSpec { bottleneck, out_dim, norm_last_layer, .. } = $this.spec;
        let places: Vec<usize> = (0..=$this.rest.len()).map(|layer| $this.place(layer)).collect();
        let mut norms = $this.norms.$iter();
        $this.first.$list(&format!("{}mlp.0.", $prefix), $to);
        if let Some(norm) = norms.next() {
            norm.$list(&format!("{}mlp.1.", $prefix), $to);
        }
        for (layer, place) in $this.rest.$iter().zip(&places[1..]) {
            layer.$list(&format!("{}mlp.{place}.", $prefix), $to);
            if let Some(norm) = norms.next() {
                norm.$list(&format!("{}mlp.{}.", $prefix, place + 1), $to);
            }
        }
        if let Some(Prototypes { weight_v, weight_g }) = $this.prototypes.$as() {
            let key = |name: &str| format!("{}last_layer.{name}", $prefix);
            $to.push(named(key("weight_g"), vec![out_dim, 1], norm_last_layer, weight_g));
            $to.push(named(key("weight_v"), vec![out_dim, bottleneck], false, weight_v));
        }
    }};
}

impl<const W: usize, D: Kernels> Parameters<D> for Head<W, D> {
    fn list<'a>(&'a self, prefix: &str, to: &mut Vec<Ref<'a, D>>) {
        head_list!(self, prefix, to, list, iter, as_ref);
    }

    fn list_mut<'a>(&'a mut self, prefix: &str, to: &mut Vec<Mut<'a, D>>) {
        head_list!(self, prefix, to, list_mut, iter_mut, as_mut);
    }
}

#[cfg(test)]
mod tests;
