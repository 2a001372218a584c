//! The one place that turns an architecture's name into a type, and its first weights.
//!
//! Sixteen vision transformers are instantiated, four shapes of block for four sizes of patch, and residual networks of two
//! widths. All that is heavy depends on the width alone or on nothing, so a patch size costs little.

use std::sync::Arc;

use super::backbone;
use super::head::Head;
use super::model::Model;
use super::network::Lent;
use super::resnet::ResNet;
use super::vit::Vit;
use crate::graph::spec::{Backbone, NetworkSpec, Stem};
use crate::kernels::{Kernels, Products};
use crate::keyed::Key;
use crate::tensor::{Crossing, Float};

/// The network that a graph describes, with weights drawn from `seed` (method: the recipe's first weights).
pub fn build<D: Kernels>(
    device: &D,
    spec: &NetworkSpec,
    products: Products,
    seed: u64,
) -> Result<Lent<D>, D::Err> {
    let mut network = zeros(device, spec, products)?;
    let owned = Arc::get_mut(&mut network).expect("a network that was just made has one owner");
    let projected = spec.backbone.vit().map_or(0, |(vit, shape)| match vit.stem {
        Stem::Patch => 3 * vit.patch * vit.patch,
        Stem::Conv => shape.width,
    });
    for parameter in owned.parameters_mut() {
        let key = Key::new(seed).named("first weights").named(&parameter.name);
        let values = first_values(&parameter.name, &parameter.dims, projected, key);
        device.write(parameter.tensor.view_mut(), &values)?;
    }
    Ok(network)
}

/// The network that a graph describes, all zero.
fn zeros<D: Kernels>(device: &D, spec: &NetworkSpec, products: Products) -> Result<Lent<D>, D::Err> {
    macro_rules! vit {
        ($vit:expr, $width:literal, $depth:literal, $heads:literal, $patch:literal) => {{
            let vit =
                Vit::<$width, $depth, $heads, $patch, D>::zeros(device, $vit, products, spec.recompute)?;
            model::<$width, _, D>(device, vit, spec, products)
        }};
    }
    macro_rules! patches {
        ($vit:expr, $width:literal, $depth:literal, $heads:literal) => {
            match $vit.patch {
                4 => vit!($vit, $width, $depth, $heads, 4),
                8 => vit!($vit, $width, $depth, $heads, 8),
                14 => vit!($vit, $width, $depth, $heads, 14),
                _ => vit!($vit, $width, $depth, $heads, 16),
            }
        };
    }
    if let Some(resnet) = spec.backbone.resnet() {
        return match resnet.1.bottleneck {
            true => model::<2048, _, D>(device, ResNet::zeros(device, resnet, products)?, spec, products),
            false => model::<512, _, D>(device, ResNet::zeros(device, resnet, products)?, spec, products),
        };
    }
    match &spec.backbone {
        Backbone::VitMicro(vit) => patches!(vit, 128, 4, 2),
        Backbone::VitTiny(vit) => patches!(vit, 192, 12, 3),
        Backbone::VitSmall(vit) => patches!(vit, 384, 12, 6),
        Backbone::VitBase(vit) => patches!(vit, 768, 12, 12),
        Backbone::ResNet18(_) | Backbone::ResNet50(_) => unreachable!("residual networks were made above"),
    }
}

/// A backbone under the graph's head.
fn model<const W: usize, B: backbone::Backbone<W, D>, D: Kernels>(
    device: &D,
    backbone: B,
    spec: &NetworkSpec,
    products: Products,
) -> Result<Lent<D>, D::Err> {
    let head = Head::zeros(device, &spec.head, products)?;
    Ok(Arc::new(Crossing::new(Model { backbone, head, device: device.clone() })))
}

/// A parameter's first numbers by its published name: norms 1 and 0, biases 0, the stem and the prototypes uniform in
/// ±1/√fan_in (PyTorch's default), a residual network's convolutions normal of deviation √(2 / fan_out) (He et al. 2015, as
/// torchvision), everything else normal of deviation 0.02. A transformer's stem's last layer sees `projected` numbers.
fn first_values(name: &str, dims: &[usize], projected: usize, key: Key) -> Vec<Float> {
    let (len, mut draws) = (dims.iter().product::<usize>(), key.draws());
    let mut uniform = |fan_in: usize| {
        let bound = (fan_in as f64).powf(-0.5);
        (0..len).map(|_| draws.uniform(-bound, bound) as Float).collect()
    };
    match name {
        // a convolution's bias follows its weight's fan-in
        "backbone.patch_embed.proj.weight" | "backbone.patch_embed.proj.bias" => uniform(projected),
        _ if name.ends_with("conv.weight") => uniform(dims[1..].iter().product()),
        "head.last_layer.weight_v" => uniform(dims[1]),
        _ if name.ends_with("bias") => vec![0.0; len],
        _ if name.ends_with("weight_g") || (name.ends_with("weight") && dims.len() == 1) => vec![1.0; len],
        _ => {
            let (fan_out, mut draws) = (dims[0] * dims[2..].iter().product::<usize>(), key.draws());
            let deviation = if dims.len() == 4 { (2.0 / fan_out as f64).sqrt() } else { 0.02 };
            (0..len).map(|_| (deviation * draws.normal()) as Float).collect()
        }
    }
}
