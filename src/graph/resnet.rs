//! What the name of a residual network (He et al. 2015) fixes: its convolutions by torchvision's keys, each with a batch norm behind it.

use super::spec::{Backbone, ResNetSpec, ResNetStem};

/// Blocks of a ResNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetShape {
    /// In each of its four parts; maps halve and channels double from one part to the next.
    pub blocks: [usize; 4],
    /// Whether a block is three convolutions, its 3 × 3 within a quarter of the channels, or two of 3 × 3.
    pub bottleneck: bool,
}

impl ResNetShape {
    /// Channels that a block gives for each that it works in.
    fn expansion(self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }

    /// Width of the features.
    pub fn width(self) -> usize {
        512 * self.expansion()
    }
}

/// The window of a convolution: height and width, odd, and how far it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub side: usize,
    pub stride: usize,
}

/// A convolution without bias, and the batch norm behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Their keys within the backbone: `layer1.0.conv1` and `layer1.0.bn1`.
    pub conv: String,
    pub norm: String,
    /// Channels before and after.
    pub inp: usize,
    pub out: usize,
    pub window: Window,
}

/// A residual block: the last of its layers is added to what came in, which goes through `shortcut` where the shape changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub body: Vec<Layer>,
    pub shortcut: Option<Layer>,
}

/// Channels after the stem.
const STEM: usize = 64;

impl Backbone {
    /// The layers of a ResNet: its stem's and its blocks'; none of another backbone.
    pub fn resnet(&self) -> Option<(&ResNetSpec, ResNetShape)> {
        match self {
            Backbone::ResNet18(spec) => Some((spec, ResNetShape { blocks: [2, 2, 2, 2], bottleneck: false })),
            Backbone::ResNet50(spec) => Some((spec, ResNetShape { blocks: [3, 4, 6, 3], bottleneck: true })),
            _ => None,
        }
    }
}

/// The convolution that pixels go through first.
pub fn stem(spec: &ResNetSpec) -> Layer {
    let window = match spec.stem {
        ResNetStem::ImageNet => Window { side: 7, stride: 2 },
        ResNetStem::Small => Window { side: 3, stride: 1 },
    };
    Layer { conv: "conv1".into(), norm: "bn1".into(), inp: 3, out: STEM, window }
}

/// The blocks of all parts, in their order.
pub fn blocks(shape: ResNetShape) -> Vec<Block> {
    let (mut inp, mut all) = (STEM, Vec::new());
    for (part, count) in shape.blocks.into_iter().enumerate() {
        for index in 0..count {
            let stride = if part > 0 && index == 0 { 2 } else { 1 };
            let out = (STEM << part) * shape.expansion();
            all.push(block(&format!("layer{}.{index}", part + 1), (inp, out), stride, shape));
            inp = out;
        }
    }
    all
}

fn block(name: &str, (inp, out): (usize, usize), stride: usize, shape: ResNetShape) -> Block {
    let within = out / shape.expansion();
    let layer = |number: usize, inp, out, side, stride| Layer {
        conv: format!("{name}.conv{number}"),
        norm: format!("{name}.bn{number}"),
        inp,
        out,
        window: Window { side, stride },
    };
    let body = match shape.bottleneck {
        true => vec![
            layer(1, inp, within, 1, 1),
            layer(2, within, within, 3, stride),
            layer(3, within, out, 1, 1),
        ],
        false => vec![layer(1, inp, out, 3, stride), layer(2, out, out, 3, 1)],
    };
    let shortcut = (stride != 1 || inp != out).then(|| Layer {
        conv: format!("{name}.downsample.0"),
        norm: format!("{name}.downsample.1"),
        inp,
        out,
        window: Window { side: 1, stride },
    });
    Block { body, shortcut }
}
