//! `student`: the trained network on every crop.
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::declare::*;
use crate::graph::architecture;
use crate::graph::spec::GraphSpec;
use crate::keyed::Key;
use crate::nn::network::{Asked, Backward, DropPath, Gradients, Lent};
use crate::nn::statistics::RunningStatistics;
use crate::nn::weights::failed;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, State, Value};
use crate::tensor::Device;

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
                Port::new("global", "the global crops, (2, B, 3, H, W)"),
                Port::new("local", "the local crops, (L, B, 3, h, w)").optional(),
                Port::new("weights", "the weights to use, lent by the optimizer").feedback(),
            ],
            outputs: vec![
                Port::new("logits", "the head's output for every crop, (2+L, B, K)"),
                Port::new("cls", "the backbone's CLS feature of every crop, (2+L, B, D)").optional(),
            ],
        }
    }

    fn problems(&self, _: &Scope) -> Vec<Problem> {
        Vec::new()
    }

    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        architecture::outputs(scope, given, &["global", "local"])
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        architecture::cost(scope, given, &["global", "local"], architecture::Pass::Traced)
    }
}

/// The running student. Between its two firings it holds the pass's tape and the weights that were lent to it.
pub struct Running<D: Device> {
    drop_path: f64,
    key: Key,
    pass: Option<(Box<dyn Backward<D>>, Lent<D>)>,
    /// The gradients of the micro-batches so far, added in their order.
    sums: Option<Gradients<D>>,
    statistics: RunningStatistics,
}

/// Positions of the ports.
const GLOBAL: usize = 0;
const LOCAL: usize = 1;
const WEIGHTS: usize = 2;
const LOGITS: usize = 0;
const CLS: usize = 1;

impl<D: Device> Running<D> {
    /// A student of this graph's network.
    pub fn new(graph: &GraphSpec) -> Self {
        Running {
            drop_path: graph.network.drop_path,
            key: Key::new(graph.seed).named("student"),
            pass: None,
            sums: None,
            statistics: RunningStatistics::default(),
        }
    }
}

impl<D: Device> Stage<D> for Running<D> {
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
        self.statistics.saw(weights.as_ref(), answer.statistics);
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
            None => weights.zero_gradients().map_err(failed)?,
        };
        let (logits, cls) = (inputs.maybe_tensor(LOGITS)?, inputs.maybe_tensor(CLS)?);
        pass.run(weights.as_ref(), logits, cls, &mut sums).map_err(failed)?;
        match at.micro + 1 == at.micros {
            true => outputs.values[WEIGHTS] = Some(Value::Gradients(Arc::new(sums))),
            false => self.sums = Some(sums),
        }
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
