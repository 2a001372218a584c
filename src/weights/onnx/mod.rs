//! Networks as ONNX files, which other programs run: normalised pixels in, features out.
//!
//! ```text
//! message   the file's messages
//! graph     operators and weights as they are put together
//! vit, resnet   the networks in ONNX's operators
//! ```
//! Operators are those of version 17, the first with a layer norm. Input `pixels` (batch, 3, side, side); outputs `cls` (batch, width) and,
//! of a transformer, `patches` (batch, patches, width). How pixels are normalised stands in the file's metadata.

mod graph;
mod message;
mod resnet;
mod vit;

use std::path::Path;

use prost::Message;

use self::graph::Builder;
use self::message::{Entry, Model, Opset};
use super::error::{Cause, WeightsError};
use super::preprocessing::Preprocessing;
use super::{Opened, Which};
use crate::checkpoint::atomic;
use crate::data::augment::{IMAGENET_DEVIATION, IMAGENET_MEAN};

/// The version of the file's form, of the operators, and the most bytes that a message may have.
const IR_VERSION: i64 = 8;
const OPERATORS: i64 = 17;
const LARGEST: usize = i32::MAX as usize;

/// Writes a backbone as an ONNX file; says how many tensors are in it.
///
/// # Errors
/// When the name does not end in `.onnx`, the network is too large for one file, or the file can't be written.
pub fn write(path: &Path, opened: &Opened, which: Which) -> Result<usize, WeightsError> {
    let about = |cause: Cause| cause.of(path);
    if path.extension().is_none_or(|end| end != "onnx") {
        return Err(about(Cause::Request(
            "programs know an ONNX file by its name: let it end in .onnx".into(),
        )));
    }
    let model = model(opened, which).map_err(about)?;
    let (tensors, bytes) =
        (model.graph.as_ref().map_or(0, |graph| graph.initializer.len()), model.encoded_len());
    if bytes > LARGEST {
        return Err(about(Cause::Request(format!(
            "{bytes} bytes are more than an ONNX file may have; use --format safetensors"
        ))));
    }
    let text = model.encode_to_vec();
    atomic::write(path, |file| file.write_all(&text)).map_err(|e| about(Cause::Unwritten(e)))?;
    Ok(tensors)
}

fn model(opened: &Opened, which: Which) -> Result<Model, Cause> {
    let backbone = &opened.network.backbone;
    let mut builder = Builder::new(backbone.name(), &opened.state);
    match (backbone.vit(), backbone.resnet()) {
        (Some((spec, shape)), _) => vit::build(&mut builder, spec, shape)?,
        (_, Some(net)) => resnet::build(&mut builder, net, backbone.image())?,
        _ => {}
    }
    let Preprocessing { mean, deviation, .. } = opened.shown.unwrap_or_default();
    let three = |values: [f32; 3]| values.map(|value| value.to_string()).join(", ");
    let about = [
        ("architecture", backbone.label()),
        ("network", which.key().to_owned()),
        ("mean", three(mean.unwrap_or(IMAGENET_MEAN))),
        ("deviation", three(deviation.unwrap_or(IMAGENET_DEVIATION))),
    ];
    Ok(Model {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(builder.end()),
        opset_import: vec![Opset { domain: String::new(), version: OPERATORS }],
        metadata: about.map(|(key, value)| Entry { key: key.into(), value }).to_vec(),
    })
}

#[cfg(test)]
mod tests;
