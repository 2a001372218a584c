//! `loss`: the student's logits, against what the teacher made of other views, to a number and to the gradient of the logits. One file
//! a variant; here is what they share: ports, types, KoLeo as an added term, and the running stage.

mod cross_entropy;
mod info_nce;
mod koleo;
mod mean_squared_error;
mod queue;
mod swapped_prediction;
mod unit;

pub use cross_entropy::{Against, CrossEntropy};
pub use info_nce::{Contrast, InfoNce};
pub use mean_squared_error::{Between, MeanSquaredError};
pub use swapped_prediction::{Swapped, SwappedPrediction};

use super::declare::*;
use super::range::Ranges;
use super::types::Types;
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::plan::cost::{FLOAT, kept};
use crate::report::metrics::CROSS_ENTROPY;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, State, Value};
use crate::tensor::{Batched, Device};
use koleo::Koleo;

/// Positions of the inputs.
const LOGITS: usize = 0;
const TARGETS: usize = 1;
const TEACHER: usize = 2;
const CLS: usize = 3;

fn ports() -> Ports {
    Ports {
        inputs: vec![
            Port::new("logits", "the student's logits (V, B, K)").differentiable(),
            Port::new("targets", "the teacher's targets (G, B, K)").optional(),
            Port::new("teacher", "the teacher's centred logits (G, B, K)").optional(),
            Port::new("cls", "the student's CLS tokens (V, B, D), for KoLeo").differentiable().optional(),
        ],
        outputs: vec![Port::new("loss", "the loss, without KoLeo").optional()],
    }
}

/// Of the inputs that variants choose from, one needs `against`, or none; and `cls` when KoLeo has a weight.
fn uses(input: &str, against: Option<&str>, koleo: f64) -> Use {
    let used = match input {
        "targets" | "teacher" => against == Some(input),
        "cls" => koleo > 0.0,
        _ => return Use::AsDeclared,
    };
    if used { Use::Needed } else { Use::Ignored }
}

/// What is wrong with KoLeo's weight, or with the batch that it is to see.
fn judge_koleo(weight: f64, ranges: &mut Ranges, scope: &Scope) {
    ranges.number("koleo", weight, |w| (0.0..1e6).contains(&w), "a number, 0 or more");
    if weight > 0.0 {
        let why = "a picture's nearest neighbour is one of the whole batch";
        whole_batch("koleo", why, "set `koleo` to 0", ranges, scope);
        if scope.global_batch < 2 {
            let found = scope.global_batch.to_string();
            ranges.push(Problem::graph("global_batch", "2 or more: KoLeo looks for neighbours", found));
        }
    }
}

/// Refuses micro-batches to a loss that has to see all rows at once, on account of `parameter`; `way` is another way out.
fn whole_batch(parameter: &str, why: &str, way: &str, ranges: &mut Ranges, scope: &Scope) {
    if scope.micro_batch != scope.global_batch {
        let whole = format!("{}, all of global_batch: {why}", scope.global_batch);
        let problem = Problem::graph("micro_batch", whole, scope.micro_batch.to_string());
        let by = [Fault::Graph("global_batch".into()), Fault::Parameter(parameter.into())];
        let problem = by.into_iter().fold(problem, Problem::by);
        ranges.push(problem.help(format!("leave `micro_batch` out, or {way}")));
    }
}

fn infer(given: &Given, against: Option<&'static str>) -> Result<Vec<EdgeType>, Vec<Problem>> {
    let mut types = Types::new(given);
    let logits = types.tensor("logits", "(views, batch, K)");
    let other = against.and_then(|port| Some((port, types.tensor(port, "(views, batch, K)")?)));
    let cls = types.tensor("cls", "(views, batch, width)");
    if let Some(logits) = logits {
        if let Some((port, other)) = other
            && (logits.dims[1..] != other.dims[1..] || logits.dims[0] < other.dims[0])
        {
            let expected = format!("the batch and prototypes of `logits`, {}", shape(&logits.dims));
            types.refuse(port, expected, shape(&other.dims));
        } else if logits.dims[0] < 2 {
            let expected = "two views or more: a view is not compared with itself";
            types.refuse("logits", expected, shape(&logits.dims));
        }
        if let Some(cls) = cls.filter(|cls| cls.dims[..2] != logits.dims[..2]) {
            let expected = format!("the views and batch of `logits`, {}", shape(&logits.dims));
            types.refuse("cls", expected, shape(&cls.dims));
        }
    }
    types.finish(vec![EdgeType::Tensor { dims: Vec::new(), batch: None }])
}

/// What a pass over the logits costs: `passes` operations for each number, and the gradient; `copies` more of the logits are held.
fn cost(passes: f64, copies: f64, koleo: f64, scope: &Scope, given: &Given) -> Cost {
    let mut types = Types::new(given);
    let Some(logits) = types.tensor("logits", "(views, batch, K)") else { return Cost::default() };
    let micro = logits.dims.iter().product::<usize>() as f64;
    let (mut flops, mut bytes) = (passes * micro * scope.micros(), (kept::LOSS + copies) * FLOAT * micro);
    if let Some(cls) = types.tensor("cls", "(views, batch, width)").filter(|_| koleo > 0.0) {
        let all = cls.dims.iter().product::<usize>() as f64;
        // the products of all pairs of a view's rows, in two views
        flops += 2.0 * 2.0 * (cls.dims[1] * cls.dims[1] * cls.dims[2]) as f64;
        bytes += 3.0 * FLOAT * all;
    }
    Cost { parameters: 0, flops, bytes, resident: 0.0 }
}

/// Who is compared with whom in one micro-batch: every teacher view with every student view but itself.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    /// Views that the teacher sees too; the student's first ones.
    pub globals: usize,
    /// Views of the student.
    pub views: usize,
    /// Pictures of the micro-batch.
    pub batch: usize,
    /// Width of the logits.
    pub k: usize,
    /// What each row of a pair counts, so that the micro-batches of a step add up to the mean.
    pub weight: f32,
}

/// A number with its gradient in the logits.
pub type Measured<D> = (f64, Batched<D>);

/// What sets one loss apart from another: it measures a micro-batch.
pub trait Measure<D: Device> {
    /// The sum over pairs, rows weighed, and its gradient in the student's logits (V, B, K).
    fn measure(
        &mut self,
        at: &Moment,
        pairs: Pairs,
        inputs: &Inputs<'_, D>,
    ) -> Result<Measured<D>, StageError>;

    /// Whether the number is the cross-entropy to `targets`.
    fn to_targets(&self) -> bool {
        false
    }

    /// The step has come to its end: what was pending becomes state.
    fn commit(&mut self) {}

    fn save(&self) -> Result<State, StageError> {
        Ok(State::new())
    }

    fn restore(&mut self, state: State) -> Result<(), StageError> {
        let _ = state;
        Ok(())
    }
}

/// The running loss. Its forward firing computes the gradients in the same pass over the logits; the backward firing gives them.
pub struct Running<D: Device, M> {
    measure: M,
    koleo: Koleo<D>,
    /// Views that the teacher sees, for a loss that takes nothing of the teacher's.
    globals: usize,
    global_batch: usize,
    gradient: Option<Batched<D>>,
    device: D,
}

impl<D: Device, M> Running<D, M> {
    /// A loss over batches of `global_batch` pictures, of which the teacher sees `globals` views, with KoLeo of this weight.
    pub fn new(measure: M, koleo: f64, globals: usize, global_batch: usize, device: &D) -> Self {
        let koleo = Koleo::new(koleo, device);
        Running { measure, koleo, globals, global_batch, gradient: None, device: device.clone() }
    }

    fn pairs(&self, inputs: &Inputs<'_, D>) -> Result<Pairs, StageError> {
        let logits = inputs.tensor(LOGITS)?;
        let [views, batch, k] = logits.dims[..] else {
            return Err(StageError::Bug(format!("logits are (views, batch, K), not {:?}", logits.dims)));
        };
        let teacher = inputs.maybe_tensor(TARGETS)?.or(inputs.maybe_tensor(TEACHER)?);
        let globals = teacher.map_or(self.globals.min(views), |teacher| teacher.dims[0]);
        let pairs = globals * views.saturating_sub(1);
        Ok(Pairs { globals, views, batch, k, weight: 1.0 / (pairs * self.global_batch) as f32 })
    }
}

impl<D: Kernels, M: Measure<D>> Stage<D> for Running<D, M> {
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let pairs = self.pairs(inputs)?;
        let (loss, gradient) = self.measure.measure(at, pairs, inputs)?;
        if !loss.is_finite() {
            return Err(StageError::NonFinite { what: "the loss".into() });
        }
        self.gradient = Some(gradient);
        outputs.metrics.push(("loss", loss));
        if self.measure.to_targets() {
            outputs.metrics.push((CROSS_ENTROPY, loss));
        }
        if let Some(koleo) = self.koleo.fire(pairs, inputs.maybe_tensor(CLS)?)? {
            outputs.metrics.push(("koleo", koleo));
        }
        let scalar = Batched::from_host(&self.device, vec![loss as f32], vec![], None);
        outputs.values[0] = Some(Value::Tensor(scalar.map_err(failed)?));
        Ok(())
    }

    fn backward(
        &mut self,
        _: &Moment,
        _: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        outputs.values[LOGITS] = self.gradient.take().map(Value::Tensor);
        outputs.values[CLS] = self.koleo.gradient().map(Value::Tensor);
        Ok(())
    }

    fn commit(&mut self, _: &Moment) {
        self.measure.commit();
    }

    fn save(&self) -> Result<State, StageError> {
        self.measure.save()
    }

    fn restore(&mut self, state: State) -> Result<(), StageError> {
        self.measure.restore(state)
    }
}

#[cfg(test)]
mod tests;
