//! A residual network in ONNX's operators, its batch norms by what they saw in training.

use super::graph::{Builder, Name, float, ints};
use crate::graph::resnet::{Block, Layer, ResNetShape, blocks, stem};
use crate::graph::spec::{ResNetSpec, ResNetStem};
use crate::ops::BATCH_NORM_EPSILON;
use crate::weights::error::Cause;

/// Pixels (batch, 3, side, side) to `cls` (batch, width), the mean over positions.
pub fn build(
    b: &mut Builder<'_>,
    (spec, shape): (&ResNetSpec, ResNetShape),
    side: usize,
) -> Result<(), Cause> {
    let pixels = b.input("pixels", &[3, side, side]);
    let x = layer(b, &stem(spec), &pixels)?;
    let mut x = b.op("Relu", &[&x], Vec::new());
    if spec.stem == ResNetStem::ImageNet {
        let windows = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), ints("pads", &[1; 4])];
        x = b.op("MaxPool", &[&x], windows);
    }
    for block in blocks(shape) {
        x = residual(b, &block, &x)?;
    }
    let mean = b.op("GlobalAveragePool", &[&x], Vec::new());
    let cls = b.op("Flatten", &[&mean], Vec::new());
    b.output("cls", &cls, &[shape.width()]);
    Ok(())
}

fn residual(b: &mut Builder<'_>, block: &Block, x: &str) -> Result<Name, Cause> {
    let around = match &block.shortcut {
        Some(shortcut) => layer(b, shortcut, x)?,
        None => x.to_owned(),
    };
    let mut within = x.to_owned();
    for (at, each) in block.body.iter().enumerate() {
        within = layer(b, each, &within)?;
        if at + 1 < block.body.len() {
            within = b.op("Relu", &[&within], Vec::new());
        }
    }
    let sum = b.op("Add", &[&within, &around], Vec::new());
    Ok(b.op("Relu", &[&sum], Vec::new()))
}

/// A convolution without bias and the batch norm behind it.
fn layer(b: &mut Builder<'_>, layer: &Layer, x: &str) -> Result<Name, Cause> {
    let (side, stride) = (layer.window.side, layer.window.stride);
    let weight = b.weight(&format!("{}.weight", layer.conv))?;
    let windows =
        vec![ints("kernel_shape", &[side; 2]), ints("strides", &[stride; 2]), ints("pads", &[side / 2; 4])];
    let x = b.op("Conv", &[x, &weight], windows);
    let (gain, bias) =
        (b.weight(&format!("{}.weight", layer.norm))?, b.weight(&format!("{}.bias", layer.norm))?);
    let mean = statistic(b, layer, "running_mean", 0.0);
    let variance = statistic(b, layer, "running_var", 1.0);
    Ok(b.op(
        "BatchNormalization",
        &[&x, &gain, &bias, &mean, &variance],
        vec![float("epsilon", BATCH_NORM_EPSILON)],
    ))
}

/// What a norm saw, or what it starts with where the file says nothing of it.
fn statistic(b: &mut Builder<'_>, layer: &Layer, word: &str, first: f32) -> Name {
    let key = format!("{}.{word}", layer.norm);
    match b.numbers(&key) {
        Ok((dims, values)) => b.constant(&key, dims, values),
        Err(_) => b.constant(&key, &[layer.out], &vec![first; layer.out]),
    }
}
