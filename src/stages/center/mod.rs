//! `center`: the teacher's logits to the student's targets. One file a variant; here is what they share: ports, types, cost, and the
//! running stage.

mod batch_softmax;
mod centering;
mod running_center;
mod sinkhorn_knopp;
mod uncentered;

pub use batch_softmax::BatchSoftmax;
pub use centering::Centering;
pub use sinkhorn_knopp::SinkhornKnopp;
pub use uncentered::Uncentered;

use super::declare::*;
use super::range::Ranges;
use super::types::Types;
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::optim::schedule::{Every, Schedule, Span};
use crate::plan::cost::FLOAT;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, State, Value};
use crate::tensor::{Batched, Device};
use running_center::RunningCenter;

/// How a variant makes targets of the teacher's logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// softmax((t - c) / temperature), with c the centre from before the step.
    Centered,
    /// softmax(t / temperature).
    Plain,
    /// Sinkhorn-Knopp of exp(t / temperature) over the whole batch of all teacher views.
    Balanced { iterations: usize },
}

/// A variant with its parameters, as the stage runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    pub rule: Rule,
    /// How much of the old centre a step keeps.
    pub momentum: f64,
    /// The teacher's temperature.
    pub temperature: Schedule,
}

/// The paper's course of the teacher's temperature.
fn warm_up() -> Schedule {
    Schedule::Linear { from: 0.04, to: 0.07, over: Span::Epochs(30.0), every: Every::Epoch }
}

/// Positions of the outputs.
const TARGETS: usize = 0;
const CENTERED: usize = 1;

fn ports() -> Ports {
    Ports {
        inputs: vec![Port::new("logits", "the teacher's logits of the whole batch (G, B, K)")],
        outputs: vec![
            Port::new("targets", "a probability for each prototype (G, B, K)"),
            Port::new("centered", "the logits less the centre that the targets see (G, B, K)").optional(),
        ],
    }
}

/// What is wrong with the parameters that variants have in common.
fn judge(recipe: &Recipe, ranges: &mut Ranges) {
    ranges.number("momentum", recipe.momentum, |m| (0.0..=1.0).contains(&m), "0 to 1");
    ranges.schedule("temperature", &recipe.temperature, |t| t > 0.0 && t < 1e6, "a number above 0");
}

fn infer(given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
    let mut types = Types::new(given);
    let logits = types.needed("logits", "(views, batch, K)");
    let dims = logits.map(|logits| logits.dims).unwrap_or_default();
    let all = EdgeType::Tensor { dims, batch: Some((1, Batch::Whole)) };
    types.finish(vec![all.clone(), all])
}

/// `passes` over the logits: multiply-adds, roughly, for each of them.
fn cost(passes: f64, given: &Given) -> Cost {
    let Some(logits) = Types::new(given).tensor("logits", "(views, batch, K)") else {
        return Cost::default();
    };
    let (all, prototypes) = (logits.dims.iter().product::<usize>() as f64, logits.dims[2] as f64);
    let resident = FLOAT * prototypes;
    Cost { parameters: 0, flops: passes * all, bytes: resident + FLOAT * all, resident }
}

/// The running stage. Whatever its targets are made of, it keeps a centre, so that every run tells how far its teacher's logits
/// lie from zero.
pub struct Running<D: Device> {
    recipe: Recipe,
    center: RunningCenter<D>,
    device: D,
}

impl<D: Device> Running<D> {
    /// A centre of zeros.
    pub fn new(recipe: Recipe, device: &D) -> Self {
        let center = RunningCenter::new(recipe.momentum, device);
        Running { recipe, center, device: device.clone() }
    }
}

/// Targets, and the entropy of each of their rows in nats.
type Targets<D> = (Batched<D>, Batched<D>);

impl<D: Kernels> Running<D> {
    fn targets(&self, logits: &Batched<D>, rows: usize, temperature: f32) -> Result<Targets<D>, D::Err> {
        let k = logits.dims[logits.dims.len() - 1];
        let mut targets = Batched::empty(&self.device, logits.dims.clone(), logits.batch)?;
        let mut entropy = Batched::empty(&self.device, vec![rows], None)?;
        let (from, to, of_rows) = (logits.view(), targets.view_mut(), entropy.view_mut());
        match self.recipe.rule {
            Rule::Balanced { iterations } => {
                self.device.sinkhorn(1, rows, k, iterations, temperature, from, to, of_rows)?;
            }
            Rule::Centered => {
                let center = self.center.now().map(Batched::view);
                self.device.centered_softmax(rows, k, from, center, temperature, to, of_rows)?;
            }
            Rule::Plain => self.device.centered_softmax(rows, k, from, None, temperature, to, of_rows)?,
        }
        Ok((targets, entropy))
    }

    /// The logits less the centre that the targets see; as they are where they see none.
    fn centered(&self, logits: &Batched<D>, rows: usize) -> Result<Batched<D>, D::Err> {
        let (Rule::Centered, Some(center)) = (self.recipe.rule, self.center.now()) else {
            return Ok(logits.clone());
        };
        let k = logits.dims[logits.dims.len() - 1];
        let mut centered = Batched::empty(&self.device, logits.dims.clone(), logits.batch)?;
        self.device.centered(rows, k, logits.view(), center.view(), centered.view_mut())?;
        Ok(centered)
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let logits = inputs.tensor(0)?;
        let k = logits.dims[logits.dims.len() - 1];
        let rows = logits.dims.iter().product::<usize>() / k;
        let temperature = self.recipe.temperature.at(at.step, at.horizon);
        let (targets, entropy) = self.targets(logits, rows, temperature as f32).map_err(failed)?;
        if outputs.wants(CENTERED) {
            outputs.values[CENTERED] = Some(Value::Tensor(self.centered(logits, rows).map_err(failed)?));
        }
        let length = self.center.follow(logits, rows).map_err(failed)?;
        let of_rows = entropy.to_host().map_err(failed)?;
        let mean_entropy = of_rows.iter().map(|&e| f64::from(e)).sum::<f64>() / rows as f64;
        let of_mean = self.device.entropy_of_mean(rows, k, targets.view()).map_err(failed)?;
        outputs.metrics.extend([
            ("teacher_temperature", temperature),
            ("teacher_entropy", mean_entropy),
            ("batch_entropy", of_mean),
            ("center_norm", length),
        ]);
        outputs.values[TARGETS] = Some(Value::Tensor(targets));
        Ok(())
    }

    fn commit(&mut self, _: &Moment) {
        self.center.commit();
    }

    fn save(&self) -> Result<State, StageError> {
        self.center.save()
    }

    fn restore(&mut self, state: State) -> Result<(), StageError> {
        self.center.restore(state)
    }
}

#[cfg(test)]
mod tests;
