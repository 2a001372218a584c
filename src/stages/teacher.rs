//! `teacher`: the averaged network on the global crops, never traced.
use serde::{Deserialize, Serialize};

use super::declare::*;
use super::types::Types;
use crate::nn::network::Asked;
use crate::nn::statistics::{Averages, RunningStatistics};
use crate::nn::weights::failed;
use crate::plan::cost;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, State, Value};
use crate::tensor::Device;

/// Sends the global crops through the teacher network. Inputs `global`, `weights*`; outputs `logits` (G, B, K), `cls` (G, B, D).
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
                Port::new("global", "global crops (G, B, 3, H, W)"),
                Port::new("weights", "the teacher's weights, which its rule owns").feedback(),
            ],
            outputs: vec![
                Port::new("logits", "the head's output for the global crops (G, B, K)"),
                Port::new("cls", "the backbone's CLS token for the global crops (G, B, D)").optional(),
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
        let Some(global) = types.crops("global", network.backbone.patch()) else {
            return Err(types.finish(Vec::new()).err().unwrap_or_default());
        };
        let (views, batch) = (global.dims[0], global.dims[1]);
        let tensor =
            |width| EdgeType::Tensor { dims: vec![views, batch, width], batch: Some((1, Batch::Micro)) };
        types.finish(vec![tensor(network.head.outputs()), tensor(network.backbone.width())])
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let network = &scope.graph.network;
        let mut cost = Cost { parameters: cost::parameters(network), ..Cost::default() };
        if let Some(crops) = Types::new(given).crops("global", network.backbone.patch()) {
            let (views, side) = (crops.dims[0] as f64, crops.dims[3]);
            cost.flops = views * scope.global_batch as f64 * cost::crop_flops(network, side).forward();
            cost.resident = cost::rounded_weights(scope.graph, cost.parameters);
            cost.bytes = cost.resident
                + views
                    * scope.micro_batch as f64
                    * cost::crop_untraced(network, scope.graph.products(), side);
        }
        cost
    }
}

/// The running teacher.
pub struct Running {
    statistics: RunningStatistics,
}

impl Running {
    /// A teacher whose passes update `averages`: its batch norms go by the batch too.
    pub fn new(averages: Averages) -> Self {
        Running { statistics: RunningStatistics::new(averages) }
    }
}

/// Positions of the ports.
const GLOBAL: usize = 0;
const WEIGHTS: usize = 1;
const LOGITS: usize = 0;
const CLS: usize = 1;

impl<D: Device> Stage<D> for Running {
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        if at.micro == 0 {
            self.statistics.forget();
        }
        let weights = inputs.weights(WEIGHTS)?;
        let asked = Asked { logits: outputs.wanted[LOGITS], ..Asked::default() };
        let answer = weights.forward(&[inputs.tensor(GLOBAL)?], asked).map_err(failed)?;
        self.statistics.saw(answer.statistics);
        outputs.values[LOGITS] = answer.logits.map(Value::Tensor);
        outputs.values[CLS] = Some(Value::Tensor(answer.cls));
        Ok(())
    }

    fn commit(&mut self, _: &Moment) {
        self.statistics.commit();
    }

    fn save(&self) -> Result<State, StageError> {
        Ok(self.statistics.save())
    }

    fn restore(&mut self, state: State) -> Result<(), StageError> {
        self.statistics.restore(state)
    }
}
