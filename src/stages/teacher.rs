//! `teacher`: the averaged network on the global crops, never traced.
use super::declare::{Batch, Cost, Declare, EdgeType, Given, Port, Ports, Problem, Rate, Role, Scope};
use super::types::Types;
use crate::plan::cost;
use serde::{Deserialize, Serialize};

/// Sends the global crops through the teacher network. Inputs `global`, `weights*`; outputs `logits` (2, B, K), `cls` (2, B, D).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Teacher {}

impl Declare for Teacher {
    fn role(&self) -> Role {
        Role::Teacher
    }

    fn rate(&self) -> Rate {
        Rate::Micro
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![
                Port::new("global", "global crops (2, B, 3, H, W)"),
                Port::new("weights", "the teacher's weights, which its rule owns").feedback(),
            ],
            outputs: vec![
                Port::new("logits", "the head's output for the global crops (2, B, K)"),
                Port::new("cls", "the backbone's CLS token for the global crops (2, B, D)").optional(),
            ],
        }
    }

    fn problems(&self, _scope: &Scope) -> Vec<Problem> {
        Vec::new()
    }

    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("weights", &EdgeType::Weights);
        let network = &scope.graph.network;
        let Some(global) = types.crops("global", network.backbone.vit().patch) else {
            return Err(types.finish(Vec::new()).err().unwrap_or_default());
        };
        let (views, batch) = (global.dims[0], global.dims[1]);
        let tensor =
            |width| EdgeType::Tensor { dims: vec![views, batch, width], batch: Some((1, Batch::Micro)) };
        types.finish(vec![tensor(network.head.out_dim), tensor(network.backbone.width())])
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let network = &scope.graph.network;
        let mut cost = Cost { parameters: cost::parameters(network), ..Cost::default() };
        if let Some(crops) = Types::new(given).crops("global", network.backbone.vit().patch) {
            let (views, side) = (crops.dims[0] as f64, crops.dims[3]);
            cost.flops = views * scope.global_batch as f64 * cost::crop_flops(network, side).forward();
            cost.bytes = views * scope.micro_batch as f64 * cost::crop_untraced(network, side);
        }
        cost
    }
}
