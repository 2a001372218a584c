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
        norms: &mut Norms<'_>,
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
        norms: &mut Norms<'_>,
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
mod tests {
    use std::sync::Arc;

    use dfdx::prelude::Cpu;

    use super::*;
    use crate::graph::spec::{Backbone, Init, NetworkSpec, Stem, VitSpec};
    use crate::keyed::Key;
    use crate::nn::architectures::build;
    use crate::nn::network::{Asked, Lent};
    use crate::plan::cost;
    use crate::tensor::Batched;

    fn network(head: HeadSpec) -> NetworkSpec {
        let vit = VitSpec { patch: 8, image: 16, stem: Stem::Patch, registers: 0 };
        NetworkSpec { backbone: Backbone::VitMicro(vit), head, drop_path: 0.0, init: Init::Seed }
    }

    /// Every combination of what a head may have.
    fn heads() -> Vec<HeadSpec> {
        let mut all = Vec::new();
        for layers in 1..=4 {
            for bits in 0..32 {
                let yes = |bit: usize| bits >> bit & 1 == 1;
                all.push(HeadSpec {
                    layers,
                    hidden: 10,
                    bottleneck: 6,
                    out_dim: 7,
                    batch_norm: yes(0),
                    activation: if yes(1) { Activation::Relu } else { Activation::Gelu },
                    l2: yes(2),
                    norm_last_layer: yes(3),
                    prototypes: yes(4),
                });
            }
        }
        all
    }

    #[test]
    fn heads_have_the_planned_parameters_and_outputs() {
        let images = Batched::from_host(&Cpu::default(), vec![0.5; 2 * 3 * 64], vec![1, 2, 3, 8, 8], Some(1));
        let images = images.unwrap();
        for head in heads() {
            let spec = network(head);
            let built = build(&Cpu::default(), &spec, Products::F32, 0).unwrap();
            let total: usize = built.parameters().iter().map(|p| p.tensor.len()).sum();
            assert_eq!(total as u64, cost::parameters(&spec), "{:?}", spec.head);
            for p in built.parameters() {
                assert_eq!(p.dims.iter().product::<usize>(), p.tensor.len(), "{}", p.name);
            }
            let asked = Asked { logits: true, ..Asked::default() };
            let logits = built.forward(&[&images], asked).unwrap().logits.unwrap();
            assert_eq!(logits.dims, [1, 2, spec.head.outputs()], "{:?}", spec.head);
        }
    }

    #[test]
    fn keys_are_those_of_pytorchs_sequential() {
        let check = |head: HeadSpec, expected: &[&str]| {
            let built = build(&Cpu::default(), &network(head), Products::F32, 0).unwrap();
            let names: Vec<String> = built.parameters().iter().map(|p| p.name.clone()).collect();
            let weights = names.iter().filter_map(|n| n.strip_prefix("head.")?.strip_suffix(".weight"));
            assert_eq!(weights.collect::<Vec<_>>(), expected);
        };
        let of = |layers, batch_norm| HeadSpec {
            layers,
            batch_norm,
            hidden: 4,
            out_dim: 4,
            ..HeadSpec::default()
        };
        check(of(1, false), &["mlp.0"]);
        check(of(1, true), &["mlp.0"]);
        check(of(3, false), &["mlp.0", "mlp.2", "mlp.4"]);
        check(of(4, false), &["mlp.0", "mlp.2", "mlp.4", "mlp.6"]);
        check(of(2, true), &["mlp.0", "mlp.1", "mlp.3"]);
        check(of(4, true), &["mlp.0", "mlp.1", "mlp.3", "mlp.4", "mlp.6", "mlp.7", "mlp.9"]);
    }

    /// The logits' sum weighted by fixed numbers.
    fn loss(network: &Lent<Cpu>, images: &Batched<Cpu>, weights: &[f32]) -> f64 {
        let asked = Asked { logits: true, ..Asked::default() };
        let logits = network.forward(&[images], asked).unwrap().logits.unwrap();
        logits.view().iter().zip(weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
    }

    /// Every trained parameter of the head along its own gradient, where its slope is the gradient's length.
    fn check_slopes(head: &HeadSpec) {
        let (cpu, outputs) = (Cpu::default(), head.outputs());
        let mut draws = Key::new(5).named("head").draws();
        let mut normal = |len: usize| (0..len).map(|_| draws.normal() as f32).collect::<Vec<_>>();
        let pixels = normal(5 * 3 * 64);
        let images = Batched::from_host(&cpu, pixels, vec![1, 5, 3, 8, 8], Some(1)).unwrap();
        let mut network = build(&cpu, &network(head.clone()), Products::F32, 1).unwrap();
        for parameter in Arc::get_mut(&mut network).unwrap().parameters_mut() {
            // first weights are too small for slopes in f32
            if parameter.name.starts_with("head.mlp") && parameter.dims.len() == 2 {
                let scale = (parameter.dims[1] as f32).powf(-0.5);
                let values: Vec<f32> = normal(parameter.tensor.len()).iter().map(|x| scale * x).collect();
                parameter.tensor.view_mut().copy_from_slice(&values);
            }
        }
        let weights = normal(5 * outputs);
        let asked = Asked { logits: true, ..Asked::default() };
        let (_, back) = network.forward_traced(&[&images], asked, None).unwrap();
        let mut sums = network.zero_gradients().unwrap();
        let seed = Batched::from_host(&cpu, weights.clone(), vec![1, 5, outputs], Some(1)).unwrap();
        back.run(network.as_ref(), Some(&seed), None, &mut sums).unwrap();
        let names: Vec<(String, bool)> =
            network.parameters().iter().map(|p| (p.name.clone(), p.fixed)).collect();
        for (at, (name, fixed)) in names.iter().enumerate().filter(|(_, (name, _))| name.starts_with("head."))
        {
            let gradient = Cpu::buffer(&sums.buffers[at]).to_vec();
            let length = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let vanishes = head.batch_norm && name.ends_with("bias") && name.starts_with("head.mlp.");
            if *fixed {
                assert_eq!(length, 0.0, "{head:?}: {name} is fixed");
            }
            if length < 1e-4 {
                assert!(*fixed || vanishes, "{head:?}: {name} has no gradient");
                continue;
            }
            let mut moved = |by: f64| {
                let owned = Arc::get_mut(&mut network).unwrap();
                let kept = owned.parameters_mut()[at].tensor.view_mut().to_vec();
                for (p, g) in owned.parameters_mut()[at].tensor.view_mut().iter_mut().zip(&gradient) {
                    *p += (by * f64::from(*g) / length) as f32;
                }
                let seen = loss(&network, &images, &weights);
                let owned = Arc::get_mut(&mut network).unwrap();
                owned.parameters_mut()[at].tensor.view_mut().copy_from_slice(&kept);
                seen
            };
            // a long step may go over a ReLU's kinks, a short one drowns in rounding where gradients are small
            let slopes = [1e-3, 1e-4].map(|step| (moved(step) - moved(-step)) / (2.0 * step));
            let near = slopes.iter().any(|slope| (slope - length).abs() < 0.01 * length);
            assert!(near, "{head:?}: {name}: {slopes:?} against {length}");
        }
    }

    #[test]
    fn every_head_has_the_gradients_that_its_slopes_say() {
        heads().iter().for_each(check_slopes);
    }
}
