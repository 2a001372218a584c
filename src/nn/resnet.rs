//! Residual networks (He et al. 2015) with torchvision's layout and keys, without the classifier.

use dfdx::prelude::{Merge, PutTape, SplitTape, Tape};

use super::backbone::{Backbone, Features, Pass};
use super::batch_norm::BatchNorm;
use super::parameter::{Mut, Parameter, Parameters, Ref};
use crate::graph::resnet::{self as plan, Layer, ResNetShape};
use crate::graph::spec::{ResNetSpec, ResNetStem};
use crate::kernels::{Kernels, Products};
use crate::ops::{self, Extent, Maps, Weights};
use crate::tensor::{Batched, Device, Float};

/// A convolution and the batch norm behind it.
#[derive(Clone, Debug)]
struct ConvNorm<D: Device> {
    weight: Weights<D>,
    norm: BatchNorm<D>,
    layer: Layer,
}

impl<D: Kernels> ConvNorm<D> {
    fn zeros(device: &D, layer: Layer) -> Result<Self, D::Err> {
        let window = layer.inp * layer.window.side * layer.window.side;
        let weight = device.try_zeros_like(&(layer.out, window))?;
        Ok(ConvNorm { weight, norm: BatchNorm::zeros(device, layer.out)?, layer })
    }

    /// The published shape of the weights.
    fn dims(&self) -> Vec<usize> {
        let Layer { inp, out, window, .. } = &self.layer;
        vec![*out, *inp, window.side, window.side]
    }

    /// norm(x * w) + residual, and under `relu` no less than 0; with the extent of what comes out.
    fn forward<T: Tape<Float, D>>(
        &self,
        (x, extent): (Maps<D, T>, Extent),
        (residual, relu): (Option<&Maps<D>>, bool),
        pass: &mut Pass<'_, D>,
        products: Products,
    ) -> Result<(Maps<D, T>, Extent), D::Err> {
        let Layer { window, inp, .. } = self.layer;
        // of all layers only the stem sees three channels
        let y = ops::conv(x, extent, &self.weight, window, inp == 3, products)?;
        let key = format!("backbone.{}", self.layer.norm);
        Ok((self.norm.forward(y, residual, relu, key, &mut pass.norms)?, extent.strided(window.stride)))
    }
}

/// Both listings are one text: a layer is known by its own names.
macro_rules! layer_list {
    ($this:ident, $prefix:ident, $to:ident, $list:ident, $($ref:tt)+) => {{
        let (name, dims) = (format!("{}{}.weight", $prefix, $this.layer.conv), $this.dims());
        $to.push(Parameter { name, dims, fixed: false, tensor: $($ref)+ $this.weight });
        $this.norm.$list(&format!("{}{}.", $prefix, $this.layer.norm), $to);
    }};
}

impl<D: Kernels> Parameters<D> for ConvNorm<D> {
    fn list<'a>(&'a self, prefix: &str, to: &mut Vec<Ref<'a, D>>) {
        layer_list!(self, prefix, to, list, &);
    }

    fn list_mut<'a>(&'a mut self, prefix: &str, to: &mut Vec<Mut<'a, D>>) {
        layer_list!(self, prefix, to, list_mut, &mut);
    }
}

/// A residual block.
#[derive(Clone, Debug)]
struct Block<D: Device> {
    body: Vec<ConvNorm<D>>,
    shortcut: Option<ConvNorm<D>>,
}

impl<D: Kernels> Block<D> {
    fn zeros(device: &D, block: plan::Block) -> Result<Self, D::Err> {
        let zeros = |layer| ConvNorm::zeros(device, layer);
        Ok(Block {
            body: block.body.into_iter().map(zeros).collect::<Result<_, _>>()?,
            shortcut: block.shortcut.map(zeros).transpose()?,
        })
    }

    fn forward<T: Tape<Float, D>>(
        &self,
        (x, extent): (Maps<D, T>, Extent),
        pass: &mut Pass<'_, D>,
        products: Products,
    ) -> Result<(Maps<D, T>, Extent), D::Err> {
        let (x, tape) = x.split_tape();
        let (residual, tape) = match &self.shortcut {
            None => (x.clone(), tape),
            Some(layer) => {
                let around = (x.clone().put_tape(tape), extent);
                layer.forward(around, (None, false), pass, products)?.0.split_tape()
            }
        };
        let mut maps = (x.put_tape(tape), extent);
        for (i, layer) in self.body.iter().enumerate() {
            let last = i + 1 == self.body.len();
            maps = layer.forward(maps, (last.then_some(&residual), true), pass, products)?;
        }
        Ok(maps)
    }
}

/// A residual network with features of width `W`.
#[derive(Clone, Debug)]
pub struct ResNet<const W: usize, D: Device> {
    stem: ConvNorm<D>,
    /// Whether the stem's maps are halved once more.
    pool: bool,
    blocks: Vec<Block<D>>,
    products: Products,
}

impl<const W: usize, D: Kernels> ResNet<W, D> {
    /// All parameters zero.
    pub fn zeros(
        device: &D,
        (spec, shape): (&ResNetSpec, ResNetShape),
        products: Products,
    ) -> Result<Self, D::Err> {
        debug_assert_eq!(W, shape.width());
        let blocks = plan::blocks(shape).into_iter().map(|block| Block::zeros(device, block));
        Ok(ResNet {
            stem: ConvNorm::zeros(device, plan::stem(spec))?,
            pool: spec.stem == ResNetStem::ImageNet,
            blocks: blocks.collect::<Result<_, _>>()?,
            products,
        })
    }
}

impl<const W: usize, D: Kernels> Backbone<W, D> for ResNet<W, D> {
    fn forward<T: Tape<Float, D> + Merge<T>>(
        &self,
        images: &Batched<D>,
        pass: &mut Pass<'_, D>,
        tape: T,
    ) -> Result<Features<W, D, T>, D::Err> {
        let (device, axes) = (images.flat.device().clone(), images.dims.len());
        let (height, width) = (images.dims[axes - 2], images.dims[axes - 1]);
        let extent = Extent { images: images.dims[..axes - 3].iter().product(), height, width };
        let mut pixels = device.empty((extent.rows(), 3))?;
        device.channels_last(extent.images, 3, height * width, images.view(), D::view_mut(&mut pixels))?;
        let mut maps =
            self.stem.forward((pixels.put_tape(tape), extent), (None, true), pass, self.products)?;
        if self.pool {
            maps = (ops::max_pool(maps.0, maps.1)?, maps.1.strided(2));
        }
        for block in &self.blocks {
            maps = block.forward(maps, pass, self.products)?;
        }
        Ok(Features {
            cls: ops::average_pool(maps.0, extent.images)?,
            tokens: None,
            attention: None,
            blocks: Vec::new(),
        })
    }
}

/// Both listings are one text: in a block torchvision lists the shortcut last.
macro_rules! resnet_list {
    ($this:ident, $prefix:ident, $to:ident, $list:ident, $iter:ident) => {{
        $this.stem.$list($prefix, $to);
        for block in $this.blocks.$iter() {
            for layer in block.body.$iter().chain(block.shortcut.$iter()) {
                layer.$list($prefix, $to);
            }
        }
    }};
}

impl<const W: usize, D: Kernels> Parameters<D> for ResNet<W, D> {
    fn list<'a>(&'a self, prefix: &str, to: &mut Vec<Ref<'a, D>>) {
        resnet_list!(self, prefix, to, list, iter);
    }

    fn list_mut<'a>(&'a mut self, prefix: &str, to: &mut Vec<Mut<'a, D>>) {
        resnet_list!(self, prefix, to, list_mut, iter_mut);
    }
}

#[cfg(test)]
mod tests;
