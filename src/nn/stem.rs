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

#[cfg(test)]
mod tests {
    use dfdx::prelude::Cpu;

    use crate::graph::spec::{Backbone, HeadSpec, NetworkSpec, Stem, VitSpec};
    use crate::kernels::Products;
    use crate::keyed::Key;
    use crate::nn::architectures::build;
    use crate::nn::network::{Asked, Lent};
    use crate::plan::cost;
    use crate::tensor::{Batched, Device};

    fn network(patch: usize) -> NetworkSpec {
        NetworkSpec::new(
            Backbone::VitMicro(VitSpec { patch, image: 2 * patch, stem: Stem::Conv, registers: 0 }),
            HeadSpec { hidden: 16, bottleneck: 8, out_dim: 12, ..HeadSpec::default() },
        )
    }

    #[test]
    fn a_convolutional_stem_has_the_planned_parameters() {
        for patch in [4, 8, 16] {
            let spec = network(patch);
            let built = build(&Cpu::default(), &spec, Products::F32, 0).unwrap();
            let total: usize = built.parameters().iter().map(|p| p.tensor.len()).sum();
            assert_eq!(total as u64, cost::parameters(&spec), "patch {patch}");
            let names: Vec<String> = built.parameters().iter().map(|p| p.name.clone()).collect();
            assert_eq!(names[2], "backbone.patch_embed.stem.0.conv.weight");
            let convolutions = names.iter().filter(|name| name.ends_with("conv.weight")).count();
            assert_eq!(convolutions, patch.ilog2() as usize);
            for p in built.parameters() {
                assert_eq!(p.dims.iter().product::<usize>(), p.tensor.len(), "{}", p.name);
            }
        }
    }

    /// The features' sum weighted by fixed numbers.
    fn loss(network: &Lent<Cpu>, images: &Batched<Cpu>, weights: &[f32]) -> f64 {
        let answer = network.forward(&[images], Asked::default()).unwrap();
        answer.cls.view().iter().zip(weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
    }

    #[test]
    fn every_parameter_of_the_stem_has_its_gradient() {
        let (cpu, spec) = (Cpu::default(), network(8));
        let mut draws = Key::new(5).named("stem").draws();
        // one image of 16 × 8: sides need not be equal
        let pixels: Vec<f32> = (0..3 * 3 * 16 * 8).map(|_| draws.normal() as f32).collect();
        let images = Batched::from_host(&cpu, pixels, vec![1, 3, 3, 16, 8], Some(1)).unwrap();
        let weights: Vec<f32> = (0..3 * 128).map(|_| draws.normal() as f32).collect();
        let mut network = build(&cpu, &spec, Products::F32, 1).unwrap();
        let (_, back) = network.forward_traced(&[&images], Asked::default(), None).unwrap();
        let mut sums = network.zero_gradients().unwrap();
        let dcls = Batched::from_host(&cpu, weights.clone(), vec![1, 3, 128], Some(1)).unwrap();
        back.run(&**network, None, Some(&dcls), &mut sums).unwrap();
        let names: Vec<String> = network.parameters().iter().map(|p| p.name.clone()).collect();
        for (at, name) in names.iter().enumerate().filter(|(_, name)| name.contains("patch_embed")) {
            // along its own gradient a parameter's slope is the gradient's length
            let gradient = Cpu::buffer(&sums.buffers[at]).to_vec();
            let length = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            assert!(length > 1e-6, "{name} has no gradient");
            let step = 3e-3;
            let mut moved = |by: f64| {
                let shift = |network: &mut Lent<Cpu>, by: f64| {
                    let owned = std::sync::Arc::get_mut(network).unwrap();
                    let parameter = &mut owned.parameters_mut()[at];
                    for (p, g) in parameter.tensor.view_mut().iter_mut().zip(&gradient) {
                        *p += (by * f64::from(*g) / length) as f32;
                    }
                };
                shift(&mut network, by);
                let seen = loss(&network, &images, &weights);
                shift(&mut network, -by);
                seen
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((slope - length).abs() < 0.01 * length, "{name}: {slope} against {length}");
        }
    }
}
