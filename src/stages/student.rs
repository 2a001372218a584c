//! `student`: the trained network on every crop.
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::declare::*;
use super::types::Types;
use crate::graph::spec::GraphSpec;
use crate::kernels::{Kernels, Products};
use crate::keyed::Key;
use crate::nn::network::{Asked, Backward, DropPath, Gradients, Lent};
use crate::nn::statistics::{Averages, RunningStatistics};
use crate::nn::weights::failed;
use crate::optim::loss_scale::LossScale;
use crate::plan::cost;
use crate::runtime::stage::{Inputs, Moment, Outputs, SavedTensor, Stage, StageError, State, Value};
use crate::tensor::Device;

/// Sends every crop through the student network (backbone and head of the graph's `network`).
/// Inputs `global`, `local?`, `weights*`; outputs `logits` (G+L, B, K), `cls` (G+L, B, D).
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
                Port::new("global", "global crops (G, B, 3, H, W)"),
                Port::new("local", "local crops (L, B, 3, h, w)").optional(),
                Port::new("weights", "the student's weights, which the optimizer owns").feedback(),
            ],
            outputs: vec![
                Port::new("logits", "the head's output for every crop (G+L, B, K)"),
                Port::new("cls", "the backbone's CLS token for every crop (G+L, B, D)").optional(),
            ],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let Some(part) = scope.graph.network.batch_norm() else { return Vec::new() };
        if scope.micro_batch == scope.global_batch {
            return Vec::new();
        }
        let whole = format!(
            "{}, all of global_batch: batch norm in {part} needs all rows at once",
            scope.global_batch
        );
        let help = match part {
            "the head" => "leave `micro_batch` out, or set network.head.batch_norm to false",
            _ => "leave `micro_batch` out, or take a vision transformer",
        };
        let problem = Problem::graph("micro_batch", whole, scope.micro_batch.to_string()).help(help);
        let by = ["global_batch", "network.backbone", "network.head"];
        vec![by.into_iter().fold(problem, |problem, key| problem.by(Fault::Graph(key.into())))]
    }

    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("weights", &EdgeType::Weights);
        let network = &scope.graph.network;
        let patch = network.backbone.patch();
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
        types.finish(vec![tensor(network.head.outputs()), tensor(network.backbone.width())])
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let network = &scope.graph.network;
        let parameters = cost::parameters(network);
        let (mut flops, mut kept) = (0.0, Vec::new());
        let mut types = Types::new(given);
        for port in ["global", "local"] {
            if let Some(crops) = types.crops(port, network.backbone.patch()) {
                let (views, side) = (crops.dims[0] as f64, crops.dims[3]);
                flops += views * scope.global_batch as f64 * cost::crop_flops(network, side).trained();
                let crop = cost::crop_kept(network, scope.graph.products(), side);
                kept.push((views * scope.micro_batch as f64, crop));
            }
        }
        let resident = cost::rounded_weights(scope.graph, parameters);
        let bytes = resident + cost::FLOAT * parameters as f64 + cost::widest(&kept);
        Cost { parameters, flops, bytes, resident }
    }
}

/// The name under which a checkpoint keeps the loss's scale.
const LOSS_SCALE: &str = "loss_scale";

/// The running student. Between its two firings it holds the pass's tape and the weights that were lent to it.
pub struct Running<D: Device> {
    drop_path: f64,
    key: Key,
    pass: Option<(Box<dyn Backward<D>>, Lent<D>)>,
    /// The gradients of the micro-batches so far, added in their order.
    sums: Option<Gradients<D>>,
    statistics: RunningStatistics,
    /// Where gradients are 16-bit IEEE floats: their scale, and the next step's once this one's gradients are known.
    scale: Option<(LossScale, LossScale)>,
    device: D,
}

/// Positions of the ports.
const GLOBAL: usize = 0;
const LOCAL: usize = 1;
const WEIGHTS: usize = 2;
const LOGITS: usize = 0;
const CLS: usize = 1;

impl<D: Kernels> Running<D> {
    /// A student of this graph's network, whose passes update `averages`.
    pub fn new(graph: &GraphSpec, averages: Averages, device: &D) -> Self {
        let first = LossScale::default();
        Running {
            drop_path: graph.network.drop_path,
            key: Key::new(graph.seed).named("student"),
            pass: None,
            sums: None,
            statistics: RunningStatistics::new(averages),
            scale: (graph.products() == Products::F16).then_some((first, first)),
            device: device.clone(),
        }
    }

    /// Looks at the step's gradients, where they have a scale, and settles the next step's.
    fn rescale(&mut self, sums: &mut Gradients<D>) -> Result<(), StageError> {
        let Some((scale, next)) = &mut self.scale else { return Ok(()) };
        let views: Vec<_> = sums.buffers.iter().map(D::buffer).collect();
        let squares = self.device.sums_of_squares(&views).map_err(failed)?;
        let finite = squares.iter().all(|square| square.is_finite());
        *next = scale.after(finite).ok_or_else(|| StageError::NonFinite {
            what: "a gradient, with no scale left to lower: the loss's gradient".into(),
        })?;
        sums.squares = Some(squares);
        Ok(())
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        if at.micro == 0 {
            // a step that came to no end may have left something behind
            self.sums = None;
            self.statistics.forget();
        }
        let (global, weights) = (inputs.tensor(GLOBAL)?, inputs.weights(WEIGHTS)?);
        let mut groups = vec![global];
        // a graph may cut no local crops and leave their wire where it is
        groups.extend(inputs.maybe_tensor(LOCAL)?.filter(|local| local.dims[0] > 0));
        let asked = Asked { logits: outputs.wanted[LOGITS], ..Asked::default() };
        let first_image = at.micro * global.dims[1];
        let drop_path = DropPath { rate: self.drop_path, key: self.key.with(at.step), first_image };
        let (answer, backward) = weights.forward_traced(&groups, asked, Some(drop_path)).map_err(failed)?;
        self.statistics.saw(answer.statistics);
        self.pass = Some((backward, weights.clone()));
        outputs.values[LOGITS] = answer.logits.map(Value::Tensor);
        outputs.values[CLS] = Some(Value::Tensor(answer.cls));
        Ok(())
    }

    fn backward(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let Some((pass, weights)) = self.pass.take() else {
            return Err(StageError::Bug("the backward half fired before the forward half".into()));
        };
        let mut sums = match self.sums.take() {
            Some(sums) => sums,
            None => {
                let scale = self.scale.map_or(1.0, |(scale, _)| scale.factor());
                Gradients { scale, ..weights.zero_gradients().map_err(failed)? }
            }
        };
        let (logits, cls) = (inputs.maybe_tensor(LOGITS)?, inputs.maybe_tensor(CLS)?);
        pass.run(&**weights, logits, cls, &mut sums).map_err(failed)?;
        match at.micro + 1 == at.micros {
            true => {
                self.rescale(&mut sums)?;
                if self.scale.is_some() {
                    outputs.metrics.push((LOSS_SCALE, f64::from(sums.scale)));
                }
                outputs.values[WEIGHTS] = Some(Value::Gradients(Arc::new(sums)));
            }
            false => self.sums = Some(sums),
        }
        Ok(())
    }

    fn commit(&mut self, _: &Moment) {
        self.statistics.commit();
        if let Some((scale, next)) = &mut self.scale {
            *scale = *next;
        }
    }

    fn save(&self) -> Result<State, StageError> {
        let mut state = self.statistics.save();
        if let Some((scale, _)) = self.scale {
            let values = scale.saved().to_vec();
            state.insert(LOSS_SCALE.into(), SavedTensor::U64 { dims: vec![values.len()], values });
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        // a run that goes on where gradients need no scale leaves it behind
        if let (Some(saved), Some(own)) = (state.remove(LOSS_SCALE), &mut self.scale) {
            let SavedTensor::U64 { values, .. } = saved else { return Err(no_scale()) };
            let scale = LossScale::restored(&values).ok_or_else(no_scale)?;
            *own = (scale, scale);
        }
        self.statistics.restore(state)
    }
}

fn no_scale() -> StageError {
    StageError::Restore("the loss's scale is misshapen".into())
}

#[cfg(test)]
mod tests;
