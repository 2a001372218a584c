//! What a ResNet costs, convolution by convolution.

use crate::graph::resnet::{Layer, ResNetShape, Window, blocks, stem};
use crate::graph::spec::{ResNetSpec, ResNetStem};

/// One convolution on a picture: itself, and the positions of its input and output.
struct Placed {
    layer: Layer,
    before: f64,
    after: f64,
}

impl Placed {
    fn flops(&self) -> f64 {
        let Layer { inp, out, window: Window { side, .. }, .. } = self.layer;
        2.0 * (inp * out * side * side) as f64 * self.after
    }

    /// Numbers of the map that it gives.
    fn map(&self) -> f64 {
        self.layer.out as f64 * self.after
    }
}

/// The side of a map after a window has gone over it.
fn moved(side: usize, window: Window) -> usize {
    side.div_ceil(window.stride)
}

/// The side of the map that the first block sees.
fn pooled(spec: &ResNetSpec, side: usize) -> usize {
    let side = moved(side, stem(spec).window);
    if spec.stem == ResNetStem::ImageNet { side.div_ceil(2) } else { side }
}

/// Every convolution on a picture of this side, the stem's first.
fn convolutions(spec: &ResNetSpec, shape: ResNetShape, side: usize) -> Vec<Placed> {
    let mut all = Vec::new();
    let mut place = |layer: Layer, side: usize| {
        let (before, after) = ((side * side) as f64, (moved(side, layer.window) as f64).powi(2));
        let side = moved(side, layer.window);
        all.push(Placed { layer, before, after });
        side
    };
    place(stem(spec), side);
    let mut side = pooled(spec, side);
    for block in blocks(shape) {
        if let Some(shortcut) = block.shortcut {
            place(shortcut, side);
        }
        for layer in block.body {
            side = place(layer, side);
        }
    }
    all
}

/// Weights of convolutions, gains and biases of norms.
pub fn parameters(spec: &ResNetSpec, shape: ResNetShape) -> u64 {
    let numbers = |p: &Placed| {
        let Layer { inp, out, window, .. } = p.layer;
        (inp * out * window.side * window.side + 2 * out) as u64
    };
    convolutions(spec, shape, 1).iter().map(numbers).sum()
}

/// Forward work on a picture: the stem's and the blocks'.
pub fn flops(spec: &ResNetSpec, shape: ResNetShape, side: usize) -> (f64, f64) {
    let all = convolutions(spec, shape, side);
    (all[0].flops(), all[1..].iter().map(Placed::flops).sum())
}

/// Numbers that a picture's forward pass keeps for its backward pass: every map before and after its norm, what is left of the
/// stem's by pooling, and the places that it was taken from.
pub fn kept(spec: &ResNetSpec, shape: ResNetShape, side: usize) -> f64 {
    let maps: f64 = convolutions(spec, shape, side).iter().map(|p| 2.0 * p.map()).sum();
    let pool = if spec.stem == ResNetStem::ImageNet { 2.0 } else { 0.0 };
    maps + pool * stem(spec).out as f64 * (pooled(spec, side) as f64).powi(2)
}

/// Numbers that a picture's pass without a backward half needs at its widest: what comes in, twice where a block goes on from it,
/// and what goes out before and after its norm.
pub fn untraced(spec: &ResNetSpec, shape: ResNetShape, side: usize) -> f64 {
    let at = |p: &Placed| 2.0 * p.layer.inp as f64 * p.before + 2.0 * p.map();
    convolutions(spec, shape, side).iter().map(at).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::spec::Backbone;

    fn of(backbone: &Backbone) -> (ResNetSpec, ResNetShape) {
        let (spec, shape) = backbone.resnet().unwrap();
        (spec.clone(), shape)
    }

    #[test]
    fn parameters_and_operations_are_the_published_counts() {
        let imagenet = ResNetSpec { stem: ResNetStem::ImageNet };
        for (backbone, count, giga) in [
            // 25,557,032 and 11,689,512 less the classifier's 2,049,000 and 513,000; 4.09 and 1.81 multiply-adds with it
            (Backbone::ResNet50(imagenet.clone()), 23_508_032, 4.09),
            (Backbone::ResNet18(imagenet), 11_176_512, 1.81),
        ] {
            let (spec, shape) = of(&backbone);
            assert_eq!(parameters(&spec, shape), count, "{}", backbone.name());
            let (stem, blocks) = flops(&spec, shape, 224);
            let found = (stem + blocks) / 2e9;
            assert!((found - giga).abs() < 0.01, "{}: {found}", backbone.name());
        }
    }

    #[test]
    fn a_small_stem_keeps_the_maps_of_small_pictures_as_they_are() {
        let (spec, shape) = of(&Backbone::ResNet18(ResNetSpec { stem: ResNetStem::Small }));
        let all = convolutions(&spec, shape, 32);
        assert_eq!((all[0].after, all[1].before, all.last().map(|p| p.after)), (1024.0, 1024.0, Some(16.0)));
        // He et al.'s 7 × 7 has 9408 weights, 3 × 3 has 1728
        assert_eq!(parameters(&spec, shape), 11_176_512 - 9408 + 1728);
    }
}
