//! What a network costs: parameters exactly, floating-point operations by its matrix products, bytes by what is kept.
//!
//! Operations are those that a step does: the last block works for the CLS token alone, and stochastic depth leaves pictures out, of
//! which the expected share counts, for the draws differ from step to step. What the backward pass computes again counts where the graph asks
//! for it (`network.recompute`); norms and GELUs, which it always does again, do not.

mod recompute;
mod resnet;

pub use recompute::{CropKept, widest};

use crate::graph::spec::{Backbone, DeviceChoice, GraphSpec, HeadSpec, NetworkSpec, Stem, VitShape, VitSpec};
use crate::kernels::Products;

/// Bytes of a weight, of a gradient, and of a token between two halves of a block.
pub const FLOAT: f64 = 4.0;

/// Bytes of an activation within a half of a block.
fn activation(products: Products) -> f64 {
    match products {
        Products::F32 => 4.0,
        Products::Bf16 | Products::F16 => 2.0,
    }
}

/// Floats that stay alive, as multiples of what causes them. One table, so that measurements correct it in one place.
pub mod kept {
    /// For backward, a token and block but the last, in widths: each half block's input.
    pub const INPUTS: f64 = 2.0;
    /// The same, in the precision of products: queries, keys and values (3), attention's output (1), the hidden layer before
    /// its GELU (4). Norms and GELU are computed again.
    pub const BLOCK: f64 = 8.0;
    /// Of these, the hidden layer.
    pub const HIDDEN: f64 = 4.0;
    /// For backward, a token of the last block, which works for the CLS token alone, in widths: its input.
    pub const LAST_INPUTS: f64 = 1.0;
    /// The same, in the precision of products: keys and values.
    pub const LAST_BLOCK: f64 = 2.0;
    /// For backward, a token, block and attention head: the softmax's logarithm of its sum.
    pub const ATTENTION: f64 = 1.0;
    /// In the backward pass of a block, a token, in widths: the gradient of its output; and, in the precision of products, the
    /// GELU's output and the gradient of the MLP's.
    pub const BACKWARD_INPUTS: f64 = 1.0;
    pub const BACKWARD: f64 = 5.0;
    /// For backward, a position of the stem's convolutions, in output channels: before the norm and after the GELU.
    pub const CONV: f64 = 2.0;
    /// For backward, a row and hidden layer of the head, in hidden widths: before and after the activation.
    pub const HEAD_HIDDEN: f64 = 2.0;
    /// For backward, a row of the head, in bottleneck widths: before and after normalisation.
    pub const HEAD_BOTTLENECK: f64 = 2.0;
    /// Without backward, a token, in widths: a half block's input and output; and, in the precision of products, the normalised input
    /// and the hidden layer after its GELU.
    pub const UNTRACED_INPUTS: f64 = 2.0;
    pub const UNTRACED: f64 = 5.0;
    /// While the loss is computed, in logits of the student: their gradient.
    pub const LOSS: f64 = 1.0;
    /// Bytes of the process before it holds any tensor: code, thread stacks, buffers of the libraries.
    pub const PROCESS: f64 = 48e6;
    /// Bytes of a GPU's memory before it holds any tensor: the driver's context, kernels, the library's workspace.
    pub const CONTEXT: f64 = 640e6;
    /// Bytes of a decoded picture on a GPU, where crops are cut: 500 x 375 pixels, as many data sets have them, of 3 bytes.
    pub const PICTURE: f64 = 500.0 * 375.0 * 3.0;
    /// Places there for a batch of them, which stay: two batches wait, one is sent, one cut, and one has just been; each place is a quarter
    /// larger than was asked for.
    pub const PICTURE_PLACES: f64 = 5.0 * 1.25;
    /// Bytes there of pictures that were resized one way, at most.
    pub const RESIZED: f64 = 268e6;
}

/// Bytes of weights that a GPU keeps in the precision of products, beside the weights themselves.
pub fn rounded_weights(graph: &GraphSpec, parameters: u64) -> f64 {
    match (graph.device, graph.products()) {
        (DeviceChoice::Cuda(_), products) if products != Products::F32 => {
            activation(products) * parameters as f64
        }
        _ => 0.0,
    }
}

/// Bytes that a GPU needs beside the crops of a micro-batch to cut them: places for pictures, some resized one way, and crops in 8 bits.
/// `crops` are views and their sides.
pub fn cutting(batch: usize, crops: &[(usize, usize)]) -> f64 {
    let batch = batch as f64;
    let of = |pixels: fn(f64) -> f64| -> f64 {
        crops.iter().map(|&(views, side)| batch * views as f64 * pixels(side as f64)).sum()
    };
    let pictures = batch * kept::PICTURE * kept::PICTURE_PLACES;
    pictures + of(|side| 3.0 * side * 500.0).min(kept::RESIZED) + of(|side| 3.0 * side * side)
}

/// Parameters of the backbone.
pub fn backbone_parameters(backbone: &Backbone) -> u64 {
    let Some((vit, shape)) = backbone.vit() else {
        return backbone.resnet().map_or(0, |(spec, shape)| resnet::parameters(spec, shape));
    };
    let width = shape.width as u64;
    let patch = vit.patch.max(1) as u64;
    let grid = vit.image as u64 / patch;
    let stem = match vit.stem {
        Stem::Patch => 3 * patch * patch * width + width,
        Stem::Conv => {
            let channels = vit.stem.channels(width as usize, vit.patch);
            let layers = channels.windows(2).map(|pair| (9 * pair[0] * pair[1] + 2 * pair[1]) as u64);
            layers.sum::<u64>() + width * width + width
        }
    };
    let norm = 2 * width;
    let linear = |from: u64, to: u64| from * to + to;
    let block = 2 * norm
        + linear(width, 3 * width)
        + linear(width, width)
        + linear(width, 4 * width)
        + linear(4 * width, width);
    stem + (2 + grid * grid + vit.registers as u64) * width + shape.depth as u64 * block + norm
}

/// Parameters of the head on features of this width, the last layer's magnitudes among them.
pub fn head_parameters(head: &HeadSpec, width: usize) -> u64 {
    let linears: u64 = mlp(head, width).map(|(from, to)| (from * to + to) as u64).sum();
    let norms = if head.batch_norm { 2 * head.hidden_layers() * head.hidden } else { 0 };
    let prototypes = if head.prototypes { head.out_dim + head.out_dim * head.bottleneck } else { 0 };
    linears + (norms + prototypes) as u64
}

/// Widths before and after each linear layer of the head's MLP.
fn mlp(head: &HeadSpec, width: usize) -> impl Iterator<Item = (usize, usize)> {
    let (hidden, last) = (head.hidden, head.hidden_layers());
    let bottleneck = head.bottleneck;
    (0..=last).map(move |layer| {
        (if layer == 0 { width } else { hidden }, if layer == last { bottleneck } else { hidden })
    })
}

/// The forward work of the head on one row.
fn head_flops(head: &HeadSpec, width: usize) -> f64 {
    let prototypes = if head.prototypes { head.bottleneck * head.out_dim } else { 0 };
    2.0 * (mlp(head, width).map(|(from, to)| from * to).sum::<usize>() + prototypes) as f64
}

/// Parameters of backbone and head.
pub fn parameters(network: &NetworkSpec) -> u64 {
    backbone_parameters(&network.backbone) + head_parameters(&network.head, network.backbone.width())
}

/// Multiply-adds count two. Forward, for one crop of this side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropFlops {
    /// From pixels to tokens: backward needs its weights' gradient only, for nobody asks for the pixels'.
    pub stem: f64,
    /// The blocks' linear layers and attention's two products; the last block's for the CLS token.
    pub blocks: f64,
    /// What of `blocks` stochastic depth is expected to leave.
    pub kept: f64,
    /// What of `kept` the backward pass does again.
    pub again: f64,
    /// The head on the crop's one row.
    pub head: f64,
}

impl CropFlops {
    /// One forward pass, in which nothing is dropped.
    pub fn forward(self) -> f64 {
        self.stem + self.blocks + self.head
    }

    /// Forward and backward under stochastic depth: twice the forward work again, less the pixels' gradient, and what is
    /// computed again.
    pub fn trained(self) -> f64 {
        2.0 * self.stem + 3.0 * (self.kept + self.head) + self.again
    }
}

/// Patches of a crop.
fn patches(vit: &VitSpec, side: usize) -> f64 {
    let grid = side / vit.patch.max(1);
    (grid * grid) as f64
}

/// Tokens of a crop: its patches, CLS and registers.
pub fn tokens(vit: &VitSpec, side: usize) -> f64 {
    (1 + vit.registers) as f64 + patches(vit, side)
}

/// One convolution of the stem, for one crop.
struct ConvLayer {
    inp: f64,
    out: f64,
    /// Of its output.
    positions: f64,
}

/// The stem's convolutions on a crop of this side.
fn layers(vit: &VitSpec, width: usize, side: usize) -> impl Iterator<Item = ConvLayer> {
    let channels = vit.stem.channels(width, vit.patch);
    (1..channels.len()).map(move |i| ConvLayer {
        inp: channels[i - 1] as f64,
        out: channels[i] as f64,
        positions: ((side >> i) as f64).powi(2),
    })
}

/// The forward work of a block in which `queries` of the tokens ask: these go through queries (1 width²), projection (1) and MLP
/// (8), all tokens through keys and values (2).
fn block_flops(width: f64, tokens: f64, queries: f64) -> f64 {
    2.0 * width * width * (2.0 * tokens + 10.0 * queries) + 4.0 * tokens * queries * width
}

/// The forward work of one crop.
pub fn crop_flops(network: &NetworkSpec, side: usize) -> CropFlops {
    let head = head_flops(&network.head, network.backbone.width());
    let Some((vit, VitShape { width, depth, .. })) = network.backbone.vit() else {
        let of = |(spec, shape)| resnet::flops(spec, shape, side);
        let (stem, blocks) = network.backbone.resnet().map_or((0.0, 0.0), of);
        return CropFlops { stem, blocks, kept: blocks, again: 0.0, head };
    };
    let (channels, patches, tokens) = (width, patches(vit, side), tokens(vit, side));
    let width = width as f64;
    let pixels = 3.0 * (vit.patch as f64).powi(2);
    let queries = |block: usize| if block + 1 == depth { 1.0 } else { tokens };
    let block = |block: usize| block_flops(width, tokens, queries(block));
    let again = |block: usize| recompute::flops(network.recompute, width, tokens, queries(block));
    let stays = |block: usize| 1.0 - NetworkSpec::drop_probability(network.drop_path, block, depth);
    CropFlops {
        stem: match vit.stem {
            Stem::Patch => 2.0 * patches * pixels * width,
            Stem::Conv => {
                let products = layers(vit, channels, side).map(|l| 9.0 * l.inp * l.out * l.positions);
                2.0 * (products.sum::<f64>() + patches * width * width)
            }
        },
        blocks: (0..depth).map(block).sum(),
        kept: (0..depth).map(|i| stays(i) * block(i)).sum(),
        again: (0..depth).map(|i| stays(i) * again(i)).sum(),
        head,
    }
}

/// What a crop's forward pass keeps for its backward pass.
pub fn crop_kept(network: &NetworkSpec, products: Products, side: usize) -> CropKept {
    let head = &network.head;
    let row = kept::HEAD_HIDDEN * (head.hidden_layers() * head.hidden) as f64
        + kept::HEAD_BOTTLENECK * head.bottleneck as f64
        + head.outputs() as f64;
    let Some((vit, shape)) = network.backbone.vit() else {
        let of = |(spec, shape)| resnet::kept(spec, shape, side);
        let backbone = FLOAT * network.backbone.resnet().map_or(0.0, of);
        return CropKept { backbone, head: FLOAT * row, again: 0.0 };
    };
    let (block, last) = recompute::kept(network.recompute, products, shape);
    let stem: f64 = layers(vit, shape.width, side).map(|l| kept::CONV * l.out * l.positions).sum();
    let tokens = tokens(vit, side);
    CropKept {
        backbone: FLOAT * stem + tokens * ((shape.depth as f64 - 1.0) * block + last),
        head: FLOAT * row,
        again: tokens * recompute::again(network.recompute, products, shape),
    }
}

/// Bytes that a crop's pass without a backward half needs at its widest.
pub fn crop_untraced(network: &NetworkSpec, products: Products, side: usize) -> f64 {
    let head = &network.head;
    let row = (2 * head.hidden + head.outputs()) as f64;
    let widths = FLOAT * kept::UNTRACED_INPUTS + activation(products) * kept::UNTRACED;
    let Some((vit, shape)) = network.backbone.vit() else {
        let of = |(spec, shape)| resnet::untraced(spec, shape, side);
        return FLOAT * (network.backbone.resnet().map_or(0.0, of) + row);
    };
    widths * tokens(vit, side) * shape.width as f64 + FLOAT * row
}

#[cfg(test)]
mod tests;
