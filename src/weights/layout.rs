//! The weights that a network has, by published key and shape, without making it.

use std::collections::BTreeMap;

use crate::graph::resnet;
use crate::graph::spec::{Backbone, HeadSpec, NetworkSpec, VitShape, VitSpec};

/// What a network has under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    pub dims: Vec<usize>,
    pub part: Part,
}

/// What a weight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Backbone,
    Head,
    /// What a batch norm has seen: a file may lack it.
    Statistic,
}

/// Weights by published key.
pub type Layout = BTreeMap<String, Weight>;

/// The weights of a network's backbone, and of its head when `head` says so.
pub fn layout(network: &NetworkSpec, head: bool) -> Layout {
    let mut all = Lister { layout: Layout::new(), part: Part::Backbone };
    if let Some((vit, shape)) = network.backbone.vit() {
        all.vit(vit, shape);
    }
    all.resnet(&network.backbone);
    if head {
        all.part = Part::Head;
        all.head(&network.head, network.backbone.width());
    }
    all.layout
}

struct Lister {
    layout: Layout,
    part: Part,
}

impl Lister {
    fn add(&mut self, key: String, dims: &[usize]) {
        self.layout.insert(key, Weight { dims: dims.to_vec(), part: self.part });
    }

    /// A weight of this shape and a bias as long as its first axis.
    fn pair(&mut self, key: &str, dims: &[usize]) {
        self.add(format!("{key}.weight"), dims);
        self.add(format!("{key}.bias"), &dims[..1]);
    }

    fn batch_norm(&mut self, key: &str, width: usize) {
        self.pair(key, &[width]);
        for (what, dims) in
            [("running_mean", &[width][..]), ("running_var", &[width]), ("num_batches_tracked", &[])]
        {
            let weight = Weight { dims: dims.to_vec(), part: Part::Statistic };
            self.layout.insert(format!("{key}.{what}"), weight);
        }
    }

    fn vit(&mut self, vit: &VitSpec, shape: VitShape) {
        let (width, grid) = (shape.width, vit.image / vit.patch.max(1));
        self.add("backbone.cls_token".into(), &[1, 1, width]);
        self.add("backbone.pos_embed".into(), &[1, 1 + grid * grid, width]);
        if vit.registers > 0 {
            self.add("backbone.register_tokens".into(), &[1, vit.registers, width]);
        }
        let channels = vit.stem.channels(width, vit.patch);
        for (i, pair) in channels.windows(2).enumerate() {
            // the input's channels innermost
            self.add(format!("backbone.patch_embed.stem.{i}.conv.weight"), &[pair[1], 3, 3, pair[0]]);
            self.pair(&format!("backbone.patch_embed.stem.{i}.norm"), &[pair[1]]);
        }
        match channels[..] {
            [pixels] => self.pair("backbone.patch_embed.proj", &[width, pixels, vit.patch, vit.patch]),
            [.., last] => self.pair("backbone.patch_embed.proj", &[width, last, 1, 1]),
            [] => {}
        }
        for block in 0..shape.depth {
            for (part, dims) in [
                ("norm1", vec![width]),
                ("attn.qkv", vec![3 * width, width]),
                ("attn.proj", vec![width, width]),
                ("norm2", vec![width]),
                ("mlp.fc1", vec![4 * width, width]),
                ("mlp.fc2", vec![width, 4 * width]),
            ] {
                self.pair(&format!("backbone.blocks.{block}.{part}"), &dims);
            }
        }
        self.pair("backbone.norm", &[width]);
    }

    fn resnet(&mut self, backbone: &Backbone) {
        let Some((spec, shape)) = backbone.resnet() else { return };
        let blocks =
            resnet::blocks(shape).into_iter().flat_map(|block| block.body.into_iter().chain(block.shortcut));
        for layer in std::iter::once(resnet::stem(spec)).chain(blocks) {
            let side = layer.window.side;
            self.add(format!("backbone.{}.weight", layer.conv), &[layer.out, layer.inp, side, side]);
            self.batch_norm(&format!("backbone.{}", layer.norm), layer.out);
        }
    }

    fn head(&mut self, head: &HeadSpec, width: usize) {
        let (hidden, step) = (head.hidden_layers(), if head.batch_norm { 3 } else { 2 });
        let mut inp = width;
        for layer in 0..=hidden {
            let out = if layer < hidden { head.hidden } else { head.bottleneck };
            self.pair(&format!("head.mlp.{}", layer * step), &[out, inp]);
            if head.batch_norm && layer < hidden {
                self.batch_norm(&format!("head.mlp.{}", layer * step + 1), out);
            }
            inp = out;
        }
        if head.prototypes {
            self.add("head.last_layer.weight_g".into(), &[head.out_dim, 1]);
            self.add("head.last_layer.weight_v".into(), &[head.out_dim, head.bottleneck]);
        }
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::Cpu;

    use super::*;
    use crate::graph::spec::{ResNetSpec, ResNetStem, Stem};
    use crate::kernels::Products;
    use crate::nn::architectures::build;

    /// The layout is the network's own list of parameters.
    fn check(backbone: Backbone, head: HeadSpec) {
        let network = NetworkSpec::new(backbone, head);
        let built = build(&Cpu::default(), &network, Products::F32, 0).unwrap();
        let theirs: BTreeMap<String, Vec<usize>> =
            built.parameters().into_iter().map(|p| (p.name, p.dims)).collect();
        let ours: BTreeMap<String, Vec<usize>> = layout(&network, true)
            .into_iter()
            .filter(|(_, weight)| weight.part != Part::Statistic)
            .map(|(key, weight)| (key, weight.dims))
            .collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn a_layout_is_what_a_network_lists() {
        let small = || HeadSpec { hidden: 16, bottleneck: 8, out_dim: 12, ..HeadSpec::default() };
        let vit = |patch, stem, registers| VitSpec { patch, image: 4 * patch, stem, registers };
        check(Backbone::VitMicro(vit(8, Stem::Patch, 0)), small());
        check(Backbone::VitMicro(vit(8, Stem::Conv, 3)), HeadSpec { batch_norm: true, ..small() });
        check(Backbone::VitTiny(vit(14, Stem::Patch, 0)), HeadSpec { layers: 1, ..small() });
        check(
            Backbone::VitMicro(vit(4, Stem::Conv, 0)),
            HeadSpec { layers: 4, prototypes: false, ..small() },
        );
        check(Backbone::ResNet18(ResNetSpec { stem: ResNetStem::Small }), small());
        check(Backbone::ResNet50(ResNetSpec::default()), HeadSpec { layers: 2, batch_norm: true, ..small() });
    }
}
