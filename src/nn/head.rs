//! DINO's projection head (section 3.1): MLP, L2-normalised bottleneck, weight-normalised linear layer.

use dfdx::prelude::{Const, HasShape, Tape, Tensor};

use super::parameter::{Mut, Parameter, Parameters, Ref, parameters};
use crate::graph::spec::HeadSpec;
use crate::kernels::{Kernels, Products};
use crate::ops::{self, Statistics};
use crate::tensor::{Device, Float};

/// One batch norm of the MLP.
#[derive(Clone, Debug)]
struct BatchNorm<D: Device> {
    gain: Tensor<(usize,), Float, D>,
    bias: Tensor<(usize,), Float, D>,
}

impl<D: Device> Parameters<D> for BatchNorm<D> {
    parameters!(self: gain "weight" [self.gain.shape().0], bias "bias" [self.bias.shape().0]);
}

/// The head over features of width `W`; the other widths are known at run time.
#[derive(Clone, Debug)]
pub struct Head<const W: usize, D: Device> {
    first: Tensor<(usize, Const<W>), Float, D>,
    first_bias: Tensor<(usize,), Float, D>,
    second: Tensor<(usize, usize), Float, D>,
    second_bias: Tensor<(usize,), Float, D>,
    third: Tensor<(usize, usize), Float, D>,
    third_bias: Tensor<(usize,), Float, D>,
    norms: Option<[BatchNorm<D>; 2]>,
    /// Directions and magnitudes of the prototypes.
    weight_v: Tensor<(usize, usize), Float, D>,
    weight_g: Tensor<(usize,), Float, D>,
    spec: HeadSpec,
    /// The precision of its products.
    products: Products,
}

impl<const W: usize, D: Kernels> Head<W, D> {
    /// All parameters zero.
    pub fn zeros(device: &D, spec: &HeadSpec, products: Products) -> Result<Self, D::Err> {
        let (hidden, bottleneck, out_dim) = (spec.hidden, spec.bottleneck, spec.out_dim);
        let row = |len: usize| device.try_zeros_like(&(len,));
        let norm = || Ok(BatchNorm { gain: row(hidden)?, bias: row(hidden)? });
        Ok(Head {
            first: device.try_zeros_like(&(hidden, Const::<W>))?,
            first_bias: row(hidden)?,
            second: device.try_zeros_like(&(hidden, hidden))?,
            second_bias: row(hidden)?,
            third: device.try_zeros_like(&(bottleneck, hidden))?,
            third_bias: row(bottleneck)?,
            norms: if spec.batch_norm { Some([norm()?, norm()?]) } else { None },
            weight_v: device.try_zeros_like(&(out_dim, bottleneck))?,
            weight_g: row(out_dim)?,
            spec: spec.clone(),
            products,
        })
    }

    /// Features (rows, W) to logits (rows, out_dim), with the statistics of the batch norms.
    #[allow(clippy::type_complexity)]
    pub fn forward<T: Tape<Float, D>>(
        &self,
        x: Tensor<(usize, Const<W>), Float, D, T>,
    ) -> Result<(Tensor<(usize, usize), Float, D, T>, Vec<Statistics>), D::Err> {
        let (mut statistics, products) = (Vec::new(), self.products);
        let hidden = match &self.norms {
            None => {
                let x = ops::linear_gelu(x, &self.first, &self.first_bias, products)?;
                ops::linear_gelu(x, &self.second, &self.second_bias, products)?
            }
            Some([first, second]) => {
                let x = ops::linear(x, &self.first, &self.first_bias, products)?;
                let (x, seen) = ops::batch_norm(x, &first.gain, &first.bias)?;
                statistics.push(seen);
                let x = ops::linear(ops::gelu(x)?, &self.second, &self.second_bias, products)?;
                let (x, seen) = ops::batch_norm(x, &second.gain, &second.bias)?;
                statistics.push(seen);
                ops::gelu(x)?
            }
        };
        let x = ops::l2_normalize(ops::linear(hidden, &self.third, &self.third_bias, products)?)?;
        let logits =
            ops::weight_normed(x, &self.weight_v, &self.weight_g, self.spec.norm_last_layer, products)?;
        Ok((logits, statistics))
    }

    /// The published keys of the batch norms, `head.mlp.1` and `head.mlp.4`.
    pub fn norm_keys(&self) -> &'static [&'static str] {
        if self.norms.is_some() { &["head.mlp.1", "head.mlp.4"] } else { &[] }
    }

    /// Positions of the three linear layers in the published `mlp`, which counts norms and activations too.
    fn places(&self) -> [usize; 3] {
        if self.norms.is_some() { [0, 3, 6] } else { [0, 2, 4] }
    }
}

fn named<T>(name: String, dims: Vec<usize>, fixed: bool, tensor: T) -> Parameter<T> {
    Parameter { name, dims, fixed, tensor }
}

/// Both listings of the head are one text: the published order puts each norm behind its linear layer.
macro_rules! head_list {
    ($this:ident, $prefix:ident, $to:ident, $list:ident, $norms:expr, $($ref:tt)+) => {{
        let ([a, b, c], mut norms) = ($this.places(), $norms.into_iter().flatten());
        let HeadSpec { hidden, bottleneck, out_dim, norm_last_layer, .. } = $this.spec;
        $to.push(named(format!("{}mlp.{a}.weight", $prefix), vec![hidden, W], false, $($ref)+ $this.first));
        $to.push(named(format!("{}mlp.{a}.bias", $prefix), vec![hidden], false, $($ref)+ $this.first_bias));
        if let Some(norm) = norms.next() { norm.$list(&format!("{}mlp.{}.", $prefix, a + 1), $to); }
        $to.push(named(format!("{}mlp.{b}.weight", $prefix), vec![hidden, hidden], false, $($ref)+ $this.second));
        $to.push(named(format!("{}mlp.{b}.bias", $prefix), vec![hidden], false, $($ref)+ $this.second_bias));
        if let Some(norm) = norms.next() { norm.$list(&format!("{}mlp.{}.", $prefix, b + 1), $to); }
        $to.push(named(format!("{}mlp.{c}.weight", $prefix), vec![bottleneck, hidden], false, $($ref)+ $this.third));
        $to.push(named(format!("{}mlp.{c}.bias", $prefix), vec![bottleneck], false, $($ref)+ $this.third_bias));
        $to.push(named(format!("{}last_layer.weight_g", $prefix), vec![out_dim, 1], norm_last_layer, $($ref)+ $this.weight_g));
        $to.push(named(format!("{}last_layer.weight_v", $prefix), vec![out_dim, bottleneck], false, $($ref)+ $this.weight_v));
    }};
}

impl<const W: usize, D: Kernels> Parameters<D> for Head<W, D> {
    fn list<'a>(&'a self, prefix: &str, to: &mut Vec<Ref<'a, D>>) {
        head_list!(self, prefix, to, list, self.norms.as_ref(), &);
    }

    fn list_mut<'a>(&'a mut self, prefix: &str, to: &mut Vec<Mut<'a, D>>) {
        head_list!(self, prefix, to, list_mut, self.norms.as_mut(), &mut);
    }
}
