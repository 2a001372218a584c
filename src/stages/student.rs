//! `student`: the trained network on every crop.
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
const PATCHES: usize = 2;

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
        groups.extend(inputs.maybe_tensor(LOCAL)?);
        let asked =
            Asked { logits: outputs.wanted[LOGITS], patches: outputs.wants(PATCHES), attention: false };
        let first_image = at.micro * global.dims[1];
        let drop_path = DropPath { rate: self.drop_path, key: self.key.with(at.step), first_image };
        let (answer, backward) = weights.forward_traced(&groups, asked, Some(drop_path)).map_err(failed)?;
        self.statistics.saw(weights.as_ref(), answer.statistics);
        self.pass = Some((backward, weights.clone()));
        outputs.values[LOGITS] = answer.logits.map(Value::Tensor);
        outputs.values[CLS] = Some(Value::Tensor(answer.cls));
        if let (true, Some(tokens)) = (outputs.wants(PATCHES), answer.tokens.into_iter().next()) {
            outputs.values[PATCHES] = Some(Value::Tensor(tokens));
        }
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
