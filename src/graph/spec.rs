//! What a graph file says: strings and numbers, nothing opened, nothing inferred.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::kernels::Products;
use crate::kernels::cpu::fastest_products;
use crate::optim::schedule::Span;
use crate::stages::StageSpec;

/// A whole graph as its file states it, after presets, `--swap` and `--set` were applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphSpec {
    /// Names the run folder, `runs/<name>`.
    pub name: String,
    /// Every random draw of the run is keyed by this number.
    #[serde(default)]
    pub seed: u64,
    /// Where the networks live.
    #[serde(default)]
    pub device: DeviceChoice,
    /// The number type of activations and matrix products.
    #[serde(default)]
    pub precision: Precision,
    /// Whether a GPU may round the f32 factors of products to 10 bits of mantissa, for its tensor cores (TF32).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tf32: bool,
    /// Images behind one update of the weights.
    pub global_batch: usize,
    /// Images that are in the networks at once; gradients accumulate to `global_batch`, which it divides.
    /// `None` takes the whole batch at once.
    #[serde(default)]
    pub micro_batch: Option<usize>,
    /// How long training lasts. `Fraction` is refused here.
    pub duration: Span,
    /// What a run does when training has collapsed.
    #[serde(default)]
    pub on_collapse: OnCollapse,
    /// The architecture that student and teacher share.
    pub network: NetworkSpec,
    /// The stages by name, in the order of the file.
    pub nodes: IndexMap<String, NodeSpec>,
}

/// One stage of the graph and the wires that end at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// The stage with its parameters. In a file this may also be the path of a preset, `"stages/center/centering.ron"`.
    pub stage: StageSpec,
    /// Ordinary wires: input port to `"producer/port"`; they carry this step's value.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub inputs: IndexMap<String, String>,
    /// Feedback wires: input port to `"producer/port"`; they carry the previous step's value.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub feedback: IndexMap<String, String>,
}

/// Where an island's tensors live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceChoice {
    /// The first GPU when the program was built for one and there is one, else the CPU.
    #[default]
    Auto,
    /// The processor's cores.
    Cpu,
    /// The NVIDIA GPU of this ordinal.
    Cuda(usize),
}

/// The number type of activations and matrix products; weights and sums are f32 in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// 32-bit floats throughout.
    F32,
    /// 16-bit brain floats in products and activations.
    Bf16,
    /// 16-bit IEEE floats with loss scaling (GPU).
    F16,
    /// The fastest that the device does well.
    #[default]
    Auto,
}

impl Precision {
    /// The number type, with `Auto` decided for a device: 16-bit brain floats on GPUs and where the processor multiplies them itself.
    pub fn decided(self, device: DeviceChoice) -> Precision {
        let fastest = match device {
            DeviceChoice::Cuda(_) => Products::Bf16,
            DeviceChoice::Auto | DeviceChoice::Cpu => fastest_products(),
        };
        match (self, fastest) {
            (Precision::Auto, Products::F32 | Products::F16) => Precision::F32,
            (Precision::Auto, Products::Bf16) => Precision::Bf16,
            (chosen, _) => chosen,
        }
    }
}

impl GraphSpec {
    /// The number type, with `Auto` decided for the graph's device.
    pub fn decided_precision(&self) -> Precision {
        self.precision.decided(self.device)
    }

    /// The precision of products and activations.
    pub fn products(&self) -> Products {
        match self.decided_precision() {
            Precision::Bf16 => Products::Bf16,
            Precision::F16 => Products::F16,
            Precision::F32 | Precision::Auto => Products::F32,
        }
    }
}

/// What a run does when training has collapsed ([`crate::doctor`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnCollapse {
    /// Writes a checkpoint and stops with status 3.
    #[default]
    Stop,
    /// Says it once and goes on.
    Warn,
}

/// The value that student and teacher both refer to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    pub backbone: Backbone,
    pub head: HeadSpec,
    /// Stochastic depth of the student: the drop probability of the last block, rising linearly over depth.
    #[serde(default)]
    pub drop_path: f64,
    /// Where the first weights come from.
    #[serde(default)]
    pub init: Init,
    /// What of a transformer's blocks the backward pass computes again.
    #[serde(default, skip_serializing_if = "Recompute::is_nothing")]
    pub recompute: Recompute,
}

impl NetworkSpec {
    /// Of these, everything else left to its default.
    pub fn new(backbone: Backbone, head: HeadSpec) -> Self {
        let (init, recompute) = (Init::default(), Recompute::default());
        NetworkSpec { backbone, head, drop_path: 0.0, init, recompute }
    }

    /// What of it normalises over the batch, and so needs all of it at once.
    pub fn batch_norm(&self) -> Option<&'static str> {
        if self.backbone.resnet().is_some() {
            return Some("the backbone");
        }
        (self.head.batch_norm && self.head.hidden_layers() > 0).then_some("the head")
    }

    /// With which probability stochastic depth leaves out a picture in block `block` of `depth`, of either of its branches.
    pub fn drop_probability(rate: f64, block: usize, depth: usize) -> f64 {
        rate * block as f64 / (depth.max(2) - 1) as f64
    }
}

/// The first weights of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Init {
    /// Drawn from the graph's seed (method: normal of deviation 0.02 and PyTorch's defaults).
    #[default]
    Seed,
    /// Read from a file or folder of any format that [`crate::weights::open`] knows: a run, a published checkpoint, timm, Hugging Face,
    /// torchvision. The teacher's, where there are two networks. Without a head in it the head is drawn from the seed.
    Weights(std::path::PathBuf),
}

/// What the backward pass of a vision transformer computes again, so that memory need not keep it (activation checkpointing, Chen et
/// al. 2016). It changes no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Recompute {
    /// All that is costly is kept.
    #[default]
    Nothing,
    /// The hidden layer of each block's MLP: a third of the blocks' forward work, for a third of what they keep or more.
    Hidden,
    /// All but the input of each block: three quarters of the blocks' forward work, for five sixths of what they keep or more.
    Blocks,
}

impl Recompute {
    /// Whether all is kept; then no file says so.
    fn is_nothing(&self) -> bool {
        *self == Recompute::Nothing
    }
}

/// A backbone by the published name, with what may vary at run time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Backbone {
    /// Width 128, 4 blocks, 2 heads.
    VitMicro(VitSpec),
    /// Width 192, 12 blocks, 3 heads.
    VitTiny(VitSpec),
    /// Width 384, 12 blocks, 6 heads.
    VitSmall(VitSpec),
    /// Width 768, 12 blocks, 12 heads.
    VitBase(VitSpec),
    /// Residual network of 18 layers, width 512.
    ResNet18(ResNetSpec),
    /// Residual network of 50 layers, width 2048.
    ResNet50(ResNetSpec),
}

impl Backbone {
    /// Of a vision transformer: what may vary at run time, and what its name fixes.
    pub fn vit(&self) -> Option<(&VitSpec, VitShape)> {
        let (vit, (width, depth, heads)) = match self {
            Backbone::VitMicro(vit) => (vit, (128, 4, 2)),
            Backbone::VitTiny(vit) => (vit, (192, 12, 3)),
            Backbone::VitSmall(vit) => (vit, (384, 12, 6)),
            Backbone::VitBase(vit) => (vit, (768, 12, 12)),
            Backbone::ResNet18(_) | Backbone::ResNet50(_) => return None,
        };
        Some((vit, VitShape { width, depth, heads }))
    }

    /// The published name: `vit_small`.
    pub fn name(&self) -> &'static str {
        match self {
            Backbone::VitMicro(_) => "vit_micro",
            Backbone::VitTiny(_) => "vit_tiny",
            Backbone::VitSmall(_) => "vit_small",
            Backbone::VitBase(_) => "vit_base",
            Backbone::ResNet18(_) => "resnet18",
            Backbone::ResNet50(_) => "resnet50",
        }
    }

    /// The name as people write it: `vit_small/16`.
    pub fn label(&self) -> String {
        match self.vit() {
            Some((vit, _)) => format!("{}/{}", self.name(), vit.patch),
            None => self.name().to_owned(),
        }
    }

    /// Width of the features.
    pub fn width(&self) -> usize {
        self.vit()
            .map(|(_, shape)| shape.width)
            .or(self.resnet().map(|(_, shape)| shape.width()))
            .unwrap_or(0)
    }

    /// What divides the sides of its pictures: a transformer's patch. A residual network takes any.
    pub fn patch(&self) -> usize {
        self.vit().map_or(1, |(vit, _)| vit.patch)
    }

    /// Side in pixels of the pictures that it is meant for.
    pub fn image(&self) -> usize {
        match (self.vit(), self.resnet()) {
            (Some((vit, _)), _) => vit.image,
            (_, Some((ResNetSpec { stem: ResNetStem::Small }, _))) => 32,
            _ => 224,
        }
    }
}

/// What may vary between residual networks of one name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetSpec {
    /// What pixels go through first.
    pub stem: ResNetStem,
}

/// What a residual network's pixels go through first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResNetStem {
    /// A convolution of 7 × 7 with stride 2, then the largest of 3 × 3 with stride 2 (torchvision).
    #[default]
    ImageNet,
    /// A convolution of 3 × 3 and no pooling, for pictures of 32 pixels or so.
    Small,
}

/// What a vision transformer's name fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitShape {
    pub width: usize,
    pub depth: usize,
    pub heads: usize,
}

/// What may vary between vision transformers of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitSpec {
    /// Side of a patch in pixels: 4, 8, 14 or 16.
    pub patch: usize,
    /// Side in pixels of the images that the position embeddings are laid out for; other sizes are interpolated.
    pub image: usize,
    /// What turns pixels to tokens.
    #[serde(default)]
    pub stem: Stem,
    /// Learned tokens beside CLS that stand for no part of the picture (Darcet et al. 2023): room for what the network keeps of the
    /// whole.
    #[serde(default)]
    pub registers: usize,
}

/// What turns pixels into a ViT's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stem {
    /// One linear projection of each patch, as in the paper.
    #[default]
    Patch,
    /// Early convolutions (Xiao et al. 2021): 3 × 3 with stride 2, layer norm and GELU until one position a patch is left, then
    /// a projection. Learns in fewer steps on small pictures. The patch is 4, 8 or 16.
    Conv,
}

impl Stem {
    /// Channels before and after each convolution for a ViT of this width, the pixels' 3 first: they double up to the width.
    /// Without convolutions, the 3 alone.
    pub fn channels(self, width: usize, patch: usize) -> Vec<usize> {
        let layers = if self == Stem::Conv { patch.max(1).ilog2() } else { 0 };
        let widths = (0..layers).rev().map(|doublings| (width >> doublings).max(1));
        std::iter::once(3).chain(widths).collect()
    }
}

/// DINO's projection head (section 3.1 and appendix C): MLP, L2-normalised bottleneck, weight-normalised linear layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadSpec {
    /// Linear layers of the MLP, 1 to 4: all before the bottleneck's are followed by the activation.
    pub layers: usize,
    /// Width of the MLP's hidden layers.
    pub hidden: usize,
    /// Width of the bottleneck, where the MLP ends.
    pub bottleneck: usize,
    /// Number of prototypes, K. Without a last layer it says nothing.
    pub out_dim: usize,
    /// Batch norm after the MLP's hidden layers.
    pub batch_norm: bool,
    /// What follows the MLP's hidden layers.
    pub activation: Activation,
    /// Scales the bottleneck to length 1.
    pub l2: bool,
    /// Keeps the magnitude of each prototype at 1 (the paper's `norm_last_layer`).
    pub norm_last_layer: bool,
    /// The weight-normalised last layer. Without it the bottleneck is the head's output, as in BYOL and MoCo.
    pub prototypes: bool,
}

impl HeadSpec {
    /// Width of the head's output, K.
    pub fn outputs(&self) -> usize {
        if self.prototypes { self.out_dim } else { self.bottleneck }
    }

    /// Hidden layers of the MLP: those before its last.
    pub fn hidden_layers(&self) -> usize {
        self.layers.saturating_sub(1)
    }
}

impl Default for HeadSpec {
    fn default() -> Self {
        HeadSpec {
            layers: 3,
            hidden: 2048,
            bottleneck: 256,
            out_dim: 65536,
            batch_norm: false,
            activation: Activation::Gelu,
            l2: true,
            norm_last_layer: true,
            prototypes: true,
        }
    }
}

/// What follows the hidden layers of an MLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// The exact (erf) GELU.
    #[default]
    Gelu,
    Relu,
}
