//! What follows from a network's description alone: shapes of its outputs, parameters, operations, memory.

use super::spec::{HeadSpec, NetworkSpec};
use crate::stages::{Batch, Cost, EdgeType, Fault, Given, Problem, Scope};

/// How a network is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Outputs only.
    Forward,
    /// With what a backward pass needs kept, and that backward pass.
    Traced,
}

/// Floats kept for the backward pass, for each token, block and unit of width: a half block's input (1 each), queries, keys and
/// values (3), the attention's output (1), the hidden layer before its GELU (4).
const KEPT_PER_WIDTH: f64 = 10.0;

/// Types of a network's `logits` and `cls` for crops at these input ports.
///
/// # Errors
/// Crops of another shape than (views, B, 3, height, width), or of a size that the patch does not divide.
pub fn outputs(scope: &Scope, given: &Given, ports: &[&str]) -> Result<Vec<EdgeType>, Vec<Problem>> {
    let (network, patch) = (&scope.graph.network, scope.graph.network.backbone.vit().patch);
    let (mut views, mut batch) = (0, scope.micro_batch);
    let mut problems = Vec::new();
    for port in ports {
        let Some(ty) = given.get(port) else { continue };
        match ty {
            EdgeType::Tensor { dims, .. } if dims.len() == 5 && dims[2] == 3 => {
                views += dims[0];
                batch = dims[1];
                if dims[0] > 0 && (dims[3] % patch != 0 || dims[4] % patch != 0) {
                    let near = (dims[4] / patch).max(1) * patch;
                    problems.push(Problem {
                        at: Fault::Input((*port).into()),
                        found: format!("crops of {} × {} pixels", dims[3], dims[4]),
                        expected: format!("sides that the patch of {patch} divides"),
                        help: Some(format!(
                            "take crops of {near} or {} pixels, or another patch",
                            near + patch
                        )),
                    });
                }
            }
            _ => problems.extend(given.mismatch(port, "crops, (views, B, 3, height, width)")),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let tensor =
        |width: usize| EdgeType::Tensor { dims: vec![views, batch, width], batch: Some((1, Batch::Micro)) };
    Ok(vec![tensor(network.head.out_dim), tensor(network.backbone.shape().width)])
}

/// Trained numbers of backbone and head, the last layer's magnitudes included.
pub fn parameters(network: &NetworkSpec) -> u64 {
    backbone_parameters(network) + head_parameters(network)
}

/// Trained numbers of the backbone, as published.
pub fn backbone_parameters(network: &NetworkSpec) -> u64 {
    let (shape, vit) = (network.backbone.shape(), network.backbone.vit());
    let (w, depth) = (shape.width as u64, shape.depth as u64);
    let grid = (vit.image / vit.patch.max(1)) as u64;
    let patch = 3 * (vit.patch * vit.patch) as u64;
    let embed = w + (1 + grid * grid) * w + (patch + 1) * w;
    let block = 4 * w + (3 * w * w + 3 * w) + (w * w + w) + (8 * w * w + 5 * w);
    embed + depth * block + 2 * w
}

/// Numbers of the head.
fn head_parameters(network: &NetworkSpec) -> u64 {
    let HeadSpec { hidden, bottleneck, out_dim, batch_norm, .. } = network.head;
    let [w, h, b, k] = [network.backbone.shape().width, hidden, bottleneck, out_dim].map(|n| n as u64);
    let norms = if batch_norm { 4 * h } else { 0 };
    (w * h + h) + (h * h + h) + (h * b + b) + norms + k * b + k
}

/// What a network costs in a step for crops at these input ports.
pub fn cost(scope: &Scope, given: &Given, ports: &[&str], pass: Pass) -> Cost {
    let network = &scope.graph.network;
    let (mut flops, mut kept, mut rows, mut widest) = (0.0, 0.0, 0.0, 0.0f64);
    for port in ports {
        let Some(EdgeType::Tensor { dims, .. }) =
            given.get(port).filter(|t| matches!(t, EdgeType::Tensor { dims, .. } if dims.len() == 5))
        else {
            continue;
        };
        let images = (dims[0] * dims[1]) as f64;
        let image = image_cost(network, dims[3], dims[4]);
        flops += images * image.flops;
        kept += images * image.kept;
        widest = widest.max(images * image.scratch);
        rows += images;
    }
    let head = head_cost(network);
    let micros = scope.micros();
    let parameters = parameters(network) as f64;
    let logits = 4.0 * rows * network.head.out_dim as f64;
    match pass {
        Pass::Forward => Cost {
            parameters: parameters as u64,
            flops: micros * (flops + rows * head.flops),
            bytes: logits + widest,
        },
        Pass::Traced => Cost {
            parameters: parameters as u64,
            flops: 3.0 * micros * (flops + rows * head.flops),
            // activations, logits and what flows back to them, gradients
            bytes: kept + rows * head.kept + 2.0 * logits + widest + 4.0 * parameters,
        },
    }
}

/// One image's or one row's share.
struct Share {
    flops: f64,
    kept: f64,
    /// Bytes alive within one half block only.
    scratch: f64,
}

/// An image of this size through the backbone: a multiply-add is two operations.
fn image_cost(network: &NetworkSpec, height: usize, width: usize) -> Share {
    let (shape, patch) = (network.backbone.shape(), network.backbone.vit().patch.max(1));
    let (w, depth) = (shape.width as f64, shape.depth as f64);
    let patches = ((height / patch) * (width / patch)) as f64;
    let tokens = 1.0 + patches;
    let embed = 2.0 * patches * (3 * patch * patch) as f64 * w;
    let block = 24.0 * tokens * w * w + 4.0 * tokens * tokens * w;
    Share {
        flops: embed + depth * block,
        kept: 4.0 * depth * KEPT_PER_WIDTH * tokens * w,
        scratch: 4.0 * 10.0 * tokens * w,
    }
}

/// One row through the head.
fn head_cost(network: &NetworkSpec) -> Share {
    let HeadSpec { hidden, bottleneck, out_dim, .. } = network.head;
    let [w, h, b, k] = [network.backbone.shape().width, hidden, bottleneck, out_dim].map(|n| n as f64);
    Share { flops: 2.0 * (w * h + h * h + h * b + b * k), kept: 4.0 * (4.0 * h + 2.0 * b), scratch: 0.0 }
}
