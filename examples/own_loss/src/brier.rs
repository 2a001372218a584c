//! The Brier score in the place of cross-entropy: the squared distance between the student's probabilities and the teacher's.
//!
//! Its arithmetic is [`score`], a dozen lines of dfdx's operations, and dfdx differentiates it. The rest is what any loss of a
//! graph has: what it is ([`Declare`]), and when it does what ([`Stage`]).

use dfdx::prelude::*;
use dinoflow::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, Value};
use dinoflow::stages::declare::{
    Cost, Declare, EdgeType, Given, Port, Ports, Problem, Rate, Role, Scope, Use,
};
use dinoflow::tensor::Batched;
use ron::value::RawValue;

/// What a graph writes after `with:`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brier {
    /// The student's temperature.
    temperature: f32,
}

impl Brier {
    /// Reads the parameters.
    ///
    /// # Errors
    /// In words, when they are none of this stage's.
    pub fn parse(with: &RawValue) -> Result<Self, String> {
        with.into_rust().map_err(|e| e.to_string())
    }

    /// What runs, in steps of `global_batch` pictures.
    pub fn running(self, global_batch: usize) -> Running {
        Running { temperature: self.temperature, global_batch, gradient: None }
    }
}

/// What it is: asked by `check` and `graph`, long before anything runs.
impl Declare for Brier {
    fn role(&self) -> Role {
        Role::Loss
    }

    /// Once for every micro-batch; dinoflow adds up losses and gradients.
    fn rate(&self) -> Rate {
        Rate::Micro
    }

    /// Those of its role, so that one flag puts it in another's place. A gradient flows back through `logits`.
    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![
                Port::new("logits", "the student's logits (V, B, K)").differentiable(),
                Port::new("targets", "the teacher's targets (G, B, K)").optional(),
                Port::new("teacher", "the teacher's centred logits (G, B, K)").optional(),
                Port::new("cls", "the student's CLS tokens (V, B, D)").differentiable().optional(),
            ],
            outputs: vec![Port::new("loss", "the loss").optional()],
        }
    }

    /// It needs the targets. What else a graph wires to it is not computed on its account.
    fn uses(&self, input: &str) -> Use {
        match input {
            "logits" => Use::AsDeclared,
            "targets" => Use::Needed,
            _ => Use::Ignored,
        }
    }

    fn problems(&self, _: &Scope) -> Vec<Problem> {
        let wrong = Problem::parameter("temperature", "a number above 0", self.temperature.to_string());
        if self.temperature > 0.0 { vec![] } else { vec![wrong] }
    }

    fn infer(&self, _: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let (mut problems, mut shapes) = (Vec::new(), Vec::new());
        for port in ["logits", "targets"] {
            match given.get(port) {
                Some(EdgeType::Tensor { dims, .. }) if dims.len() == 3 => shapes.push(dims),
                Some(other) => {
                    problems.push(Problem::input(port, "a tensor (views, batch, K)", other.to_string()));
                }
                // what is not wired is for the check to say
                None => {}
            }
        }
        if let [logits, targets] = shapes[..]
            && logits[1..] != targets[1..]
        {
            let expected = format!("the batch and prototypes of `logits`, {logits:?}");
            problems.push(Problem::input("targets", expected, format!("{targets:?}")));
        }
        if problems.is_empty() {
            Ok(vec![EdgeType::Tensor { dims: vec![], batch: None }])
        } else {
            Err(problems)
        }
    }

    fn cost(&self, _: &Scope, _: &Given) -> Cost {
        Cost::default()
    }
}

/// What does it. The gradient waits from the forward firing to the backward one.
pub struct Running {
    temperature: f32,
    global_batch: usize,
    gradient: Option<Batched<Cpu>>,
}

impl Stage<Cpu> for Running {
    fn fire(
        &mut self,
        _: &Moment,
        inputs: &mut Inputs<'_, Cpu>,
        outputs: &mut Outputs<'_, Cpu>,
    ) -> Result<(), StageError> {
        let (logits, targets) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (&[views, batch, k], &[globals, ..]) = (&logits.dims[..], &targets.dims[..]) else {
            return Err(StageError::Bug(format!("logits are (V, B, K), not {:?}", logits.dims)));
        };
        let device = Cpu::default();
        let tensor = |values: &Batched<Cpu>, views: usize| {
            Ok::<_, StageError>(device.tensor_from_vec(values.to_host().map_err(failed)?, (views, batch, k)))
        };
        // micro-batches add up to the mean over pairs and pictures
        let weight = 1.0 / (globals * (views - 1) * self.global_batch) as f32;
        let (loss, gradient) =
            score(tensor(logits, views)?, tensor(targets, globals)?, self.temperature, weight);
        if !loss.is_finite() {
            return Err(StageError::NonFinite { what: "the loss".into() });
        }
        let batched = |values, dims, axis| Batched::from_host(&device, values, dims, axis).map_err(failed);
        self.gradient = Some(batched(gradient.as_vec(), logits.dims.clone(), logits.batch)?);
        outputs.metrics.push(("loss", f64::from(loss)));
        outputs.values[0] = Some(Value::Tensor(batched(vec![loss], vec![], None)?));
        Ok(())
    }

    /// The gradients of the differentiable inputs, at those ports' places.
    fn backward(
        &mut self,
        _: &Moment,
        _: &mut Inputs<'_, Cpu>,
        outputs: &mut Outputs<'_, Cpu>,
    ) -> Result<(), StageError> {
        outputs.values[0] = self.gradient.take().map(Value::Tensor);
        Ok(())
    }
}

fn failed(error: impl std::fmt::Debug) -> StageError {
    StageError::Device(format!("{error:?}"))
}

type Views = Tensor<(usize, usize, usize), f32, Cpu>;

/// The sum over pairs (teacher view i, student view v, v ≠ i) and pictures of ‖softmax(s / temperature) - t‖², times `weight`, with
/// its gradient in the student's logits.
fn score(logits: Views, targets: Views, temperature: f32, weight: f32) -> (f32, Views) {
    let device = Cpu::default();
    let (views, batch, k) = *logits.shape();
    let globals = targets.shape().0;
    let pairs = (globals, views, batch, k);
    // a view is not compared with itself
    let weights = (0..globals).flat_map(|i| (0..views).map(move |v| if i == v { 0.0 } else { weight }));
    let weights = device.tensor_from_vec(weights.collect(), (globals, views));

    let student = (logits.leaky_trace() / temperature).softmax::<Axis<2>>();
    let distance = (student.broadcast_like::<_, Axis<0>>(&pairs)
        - targets.broadcast_like::<_, Axis<1>>(&pairs))
    .square()
    .sum::<_, Axes2<2, 3>>();
    let loss = (distance * weights).sum();
    let value = loss.array();
    (value, loss.backward().get(&logits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_the_formula_and_its_gradient_the_slope() {
        let (views, globals, batch, k, temperature, weight) = (3, 2, 2, 4, 0.5, 0.25);
        let logits: Vec<f32> = (0..views * batch * k).map(|i| (i as f32 * 1.7).sin()).collect();
        let targets: Vec<f32> =
            (0..globals * batch * k).map(|i| (i as f32 * 0.9).cos().abs() / 3.0).collect();
        let device = Cpu::default();
        let tensor =
            |values: &[f32], views: usize| device.tensor_from_vec(values.to_vec(), (views, batch, k));
        let formula = |logits: &[f32]| {
            let mut sum = 0.0;
            for (i, v, b) in (0..globals).flat_map(|i| {
                (0..views).filter(move |v| *v != i).flat_map(move |v| (0..batch).map(move |b| (i, v, b)))
            }) {
                let row = |all: &[f32], view: usize| -> Vec<f64> {
                    all[(view * batch + b) * k..][..k].iter().map(|x| f64::from(*x)).collect()
                };
                let powers: Vec<f64> =
                    row(logits, v).iter().map(|s| (s / f64::from(temperature)).exp()).collect();
                let total: f64 = powers.iter().sum();
                let squares = powers.iter().zip(row(&targets, i)).map(|(p, t)| (p / total - t).powi(2));
                sum += squares.sum::<f64>() * f64::from(weight);
            }
            sum
        };
        let (loss, gradient) = score(tensor(&logits, views), tensor(&targets, globals), temperature, weight);
        assert!((f64::from(loss) - formula(&logits)).abs() < 1e-6, "{loss}");
        for (at, found) in gradient.as_vec().into_iter().enumerate() {
            let near = |step: f32| {
                let mut moved = logits.clone();
                moved[at] += step;
                formula(&moved)
            };
            let slope = (near(1e-3) - near(-1e-3)) / 2e-3;
            assert!((f64::from(found) - slope).abs() < 1e-5, "{at}: {found} is not {slope}");
        }
    }
}
