//! `predictor`: an MLP between the student's logits and the loss, trained with the student and not followed by the teacher.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::declare::*;
use super::range::Ranges;
use super::types::Types;
use crate::graph::spec::{Activation, Precision};
use crate::kernels::Kernels;
use crate::nn::network::Gradients;
use crate::nn::predictor::{Predictor as Network, Shape, Way};
use crate::nn::weights::failed;
use crate::plan::cost::FLOAT;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, Value};
use crate::tensor::{Crossing, Device};

/// Sends the student's logits through an MLP as wide at its end as at its beginning (Grill et al. 2020).
/// Inputs `logits` (V, B, K), `weights*`; output `logits` (V, B, K).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Predictor {
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Batch norm after the hidden layer.
    pub batch_norm: bool,
    /// What follows the hidden layer.
    pub activation: Activation,
}

impl Default for Predictor {
    fn default() -> Self {
        Predictor { hidden: 4096, batch_norm: true, activation: Activation::Gelu }
    }
}

impl Predictor {
    /// The network for logits of K numbers.
    pub fn shape(&self, outputs: usize) -> Shape {
        let Predictor { hidden, batch_norm, activation } = *self;
        Shape { outputs, hidden, batch_norm, activation }
    }
}

impl Declare for Predictor {
    fn role(&self) -> Role {
        Role::Predictor
    }

    fn rate(&self) -> Rate {
        Rate::Micro
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![
                Port::new("logits", "the student's logits (V, B, K)").differentiable(),
                Port::new("weights", "the predictor's weights, which the optimizer owns").feedback(),
            ],
            outputs: vec![Port::new("logits", "what it makes of them (V, B, K)")],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.count("hidden", self.hidden, 1, 1 << 20);
        if scope.graph.precision == Precision::F16 {
            let wanted = "F32, Bf16 or Auto: a predictor's gradients have no scale, which F16 needs";
            let problem = Problem::graph("precision", wanted, "F16");
            ranges.push(problem.help("Bf16 has the range of F32 and needs none"));
        }
        if self.batch_norm && scope.micro_batch != scope.global_batch {
            let whole = format!(
                "{}, all of global_batch: batch norm in a predictor needs all rows at once",
                scope.global_batch
            );
            let help = "leave `micro_batch` out, or set the predictor's batch_norm to false";
            let problem = Problem::graph("micro_batch", whole, scope.micro_batch.to_string()).help(help);
            let problem = problem.by(Fault::Graph("global_batch".into()));
            ranges.push(problem.by(Fault::Parameter("batch_norm".into())));
        }
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("weights", &EdgeType::PredictorWeights);
        let logits = types.needed("logits", "(views, batch, K)");
        let out = logits.map(|logits| EdgeType::Tensor { dims: logits.dims, batch: logits.batch });
        types.finish(out.into_iter().collect())
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let Some(logits) = Types::new(given).tensor("logits", "(views, batch, K)") else {
            return Cost::default();
        };
        let (k, hidden) = (logits.dims[2], self.hidden as f64);
        let rows = (logits.dims[0] * logits.dims[1]) as f64;
        let parameters = self.shape(k).parameters();
        // the hidden layer before and after its norm and activation, the output, and a gradient for each weight
        let kept = rows * (k as f64 + if self.batch_norm { 3.0 } else { 2.0 } * hidden);
        Cost {
            parameters,
            // forward, and twice that backward
            flops: 3.0 * scope.micros() * rows * 4.0 * k as f64 * hidden,
            bytes: FLOAT * (kept + parameters as f64),
            resident: 0.0,
        }
    }
}

/// The running predictor. Between its two firings it holds the pass's tape and the weights that were lent to it.
pub struct Running<D: Device> {
    pass: Option<(Way<D>, Arc<Crossing<Network<D>>>)>,
    /// The gradients of the micro-batches so far, added in their order.
    sums: Option<Gradients<D>>,
}

impl<D: Device> Default for Running<D> {
    fn default() -> Self {
        Running { pass: None, sums: None }
    }
}

/// Positions of the ports.
const LOGITS: usize = 0;
const WEIGHTS: usize = 1;

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
        }
        let weights = inputs.predictor_weights(WEIGHTS)?;
        let (logits, way) = weights.forward_traced(inputs.tensor(LOGITS)?).map_err(failed)?;
        self.pass = Some((way, weights.clone()));
        outputs.values[LOGITS] = Some(Value::Tensor(logits));
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
        // nothing flows back where nothing arrives
        if let Some(gradient) = inputs.maybe_tensor(LOGITS)? {
            let back = pass.run(&weights, gradient, &mut sums).map_err(failed)?;
            outputs.values[LOGITS] = Some(Value::Tensor(back));
        }
        match at.micro + 1 == at.micros {
            true => outputs.values[WEIGHTS] = Some(Value::Gradients(Arc::new(sums))),
            false => self.sums = Some(sums),
        }
        Ok(())
    }
}
