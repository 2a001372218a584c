//! `student`: the trained network on every crop.
use super::declare::{Batch, Cost, Declare, EdgeType, Given, Port, Ports, Problem, Rate, Role, Scope};
use super::types::Types;
use crate::plan::cost;
use serde::{Deserialize, Serialize};

/// Sends every crop through the student network (backbone and head of the graph's `network`).
/// Inputs `global`, `local?`, `weights*`; outputs `logits` (2+L, B, K), `cls` (2+L, B, D).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Student {}

impl Declare for Student {
    fn role(&self) -> Role {
        Role::Student
    }

    fn rate(&self) -> Rate {
        Rate::Micro
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![
                Port::new("global", "global crops (2, B, 3, H, W)"),
                Port::new("local", "local crops (L, B, 3, h, w)").optional(),
                Port::new("weights", "the student's weights, which the optimizer owns").feedback(),
            ],
            outputs: vec![
                Port::new("logits", "the head's output for every crop (2+L, B, K)"),
                Port::new("cls", "the backbone's CLS token for every crop (2+L, B, D)").optional(),
            ],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        if !scope.graph.network.head.batch_norm || scope.micro_batch == scope.global_batch {
            return Vec::new();
        }
        let whole = format!(
            "{}, all of global_batch: batch norm in the head needs all rows at once",
            scope.global_batch
        );
        let help = "leave `micro_batch` out, or set network.head.batch_norm to false";
        vec![Problem::graph("micro_batch", whole, scope.micro_batch.to_string()).help(help)]
    }

    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("weights", &EdgeType::Weights);
        let network = &scope.graph.network;
        let patch = network.backbone.vit().patch;
        let (global, local) = (types.crops("global", patch), types.crops("local", patch));
        let Some(global) = global else { return Err(types.finish(Vec::new()).err().unwrap_or_default()) };
        let (mut views, batch) = (global.dims[0], global.dims[1]);
        if let Some(local) = &local {
            views += local.dims[0];
            if local.dims[1] != batch {
                let found = super::declare::shape(&local.dims);
                types.refuse("local", format!("a batch of {batch}, as in `global`"), found);
            }
        }
        let tensor =
            |width| EdgeType::Tensor { dims: vec![views, batch, width], batch: Some((1, Batch::Micro)) };
        types.finish(vec![tensor(network.head.out_dim), tensor(network.backbone.width())])
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let network = &scope.graph.network;
        let parameters = cost::parameters(network);
        let (mut flops, mut bytes) = (0.0, cost::FLOAT * parameters as f64);
        let mut types = Types::new(given);
        for port in ["global", "local"] {
            if let Some(crops) = types.crops(port, network.backbone.vit().patch) {
                let (views, side) = (crops.dims[0] as f64, crops.dims[3]);
                flops += views * scope.global_batch as f64 * cost::crop_flops(network, side).trained();
                bytes += views * scope.micro_batch as f64 * cost::crop_kept(network, side);
            }
        }
        Cost { parameters, flops, bytes, resident: 0.0 }
    }
}
