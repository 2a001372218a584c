//! `optimizer`: AdamW (Loshchilov and Hutter 2019) over the student's parameters, which it owns.
use crate::optim::schedule::{LrCourse, Schedule, Span};
use serde::{Deserialize, Serialize};

use std::sync::Arc;

use super::declare::*;
use super::range::{Ranges, longer};
use super::types::Types;
use crate::kernels::Kernels;
use crate::nn::network::{Gradients, Lent};
use crate::nn::parameter::Mut;
use crate::nn::weights::{self, failed};
use crate::plan::cost;
use crate::runtime::stage::{Average, Inputs, Moment, Outputs, SavedTensor, Stage, StageError, State, Value};
use crate::tensor::{Buffer, Device, Float};

/// Clips, then updates the weights of the networks it trains. Output `weights`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// The nodes whose networks are trained.
    pub trains: Vec<String>,
    /// The learning rate before scaling.
    pub lr: f64,
    /// How the learning rate follows the batch.
    pub lr_scaling: LrScaling,
    /// Its course over training.
    pub lr_course: LrCourse,
    /// Weight decay; none for biases and one-axis tensors.
    pub weight_decay: Schedule,
    /// Decay rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Gradient clipping.
    pub clip: Clip,
    /// How long the head's last layer stays as it is.
    pub freeze_last_layer: Span,
}

/// The rule that ties the learning rate to the batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum LrScaling {
    /// lr as it stands.
    None,
    /// lr × global_batch / `per` (Goyal et al. 2017; the paper's is per 256).
    Linear { per: usize },
}

/// What bounds a gradient before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Clip {
    /// Nothing.
    None,
    /// Each parameter by its own norm: factor max / (norm + 1e-6) when below 1.
    PerParameter(f64),
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW {
            trains: vec!["student".into()],
            lr: 0.0005,
            lr_scaling: LrScaling::Linear { per: 256 },
            lr_course: LrCourse::Cosine { warmup: Span::Epochs(10.0), end: 1e-6 },
            weight_decay: Schedule::Cosine { from: 0.04, to: 0.4 },
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            clip: Clip::PerParameter(3.0),
            freeze_last_layer: Span::Epochs(1.0),
        }
    }
}

impl Declare for AdamW {
    fn role(&self) -> Role {
        Role::Optimizer
    }

    fn rate(&self) -> Rate {
        Rate::Step
    }

    fn ports(&self) -> Ports {
        let about = "the gradients of what `trains` names; wired by the plan, not in the file";
        Ports {
            inputs: self.trains.iter().map(|_| Port::new("gradients", about).mirrored()).collect(),
            outputs: vec![Port::new("weights", "the student's weights after the update")],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        if self.trains.is_empty() {
            ranges.push(Problem::parameter("trains", "at least one node", "none"));
        }
        ranges.number("lr", self.lr, |lr| (0.0..1e6).contains(&lr), "a finite number, 0 or more");
        if let LrScaling::Linear { per } = self.lr_scaling {
            ranges.count("lr_scaling.per", per, 1, usize::MAX);
        }
        ranges.course("lr_course", &self.lr_course);
        ranges.schedule(
            "weight_decay",
            &self.weight_decay,
            |w| (0.0..1e6).contains(&w),
            "a finite number, 0 or more",
        );
        for (name, beta) in [("betas.0", self.betas.0), ("betas.1", self.betas.1)] {
            ranges.number(name, beta, |beta| (0.0..1.0).contains(&beta), "0 to below 1");
        }
        ranges.number("epsilon", self.epsilon, |e| e > 0.0 && e < 1.0, "above 0 and below 1");
        if let Clip::PerParameter(most) = self.clip {
            ranges.number("clip.0", most, |most| most > 0.0 && most < 1e9, "a finite number above 0");
        }
        if ranges.span("freeze_last_layer", self.freeze_last_layer)
            && longer(self.freeze_last_layer, scope) == Some(true)
        {
            let expected = "less than the whole run";
            let found = super::range::word(self.freeze_last_layer);
            let help = "the head's last layer never trains";
            let problem = Problem::parameter("freeze_last_layer", expected, found).help(help).note();
            ranges.push(problem.by(Fault::Graph("duration".into())));
        }
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("gradients", &EdgeType::Gradients);
        types.finish(vec![EdgeType::Weights])
    }

    fn cost(&self, scope: &Scope, _given: &Given) -> Cost {
        let parameters = cost::parameters(&scope.graph.network);
        // the weights and two moments
        let resident = 3.0 * cost::FLOAT * parameters as f64;
        Cost { parameters, flops: 14.0 * parameters as f64, bytes: resident, resident }
    }

    fn facts(&self, scope: &Scope) -> Vec<(String, String)> {
        let peak = self.lr_scaling.peak(self.lr, scope.global_batch);
        let value = match self.lr_scaling {
            LrScaling::None => format!("{peak}"),
            LrScaling::Linear { per } => format!("{peak} = {} × {} / {per}", self.lr, scope.global_batch),
        };
        vec![("learning rate at its peak".into(), value)]
    }

    fn trains(&self) -> &[String] {
        &self.trains
    }
}

/// The running optimizer. It owns the student's weights and the moments.
pub struct Running<D: Device> {
    stage: AdamW,
    peak_lr: f64,
    student: Lent<D>,
    /// In the order of the network's parameters.
    moments: Vec<Moments<D>>,
    device: D,
}

/// One parameter's running moments and how often it was updated.
struct Moments<D: Device> {
    first: Buffer<D>,
    second: Buffer<D>,
    updates: u64,
}

impl LrScaling {
    /// The peak learning rate at this batch.
    pub fn peak(self, lr: f64, global_batch: usize) -> f64 {
        match self {
            LrScaling::None => lr,
            LrScaling::Linear { per } => lr * global_batch as f64 / per as f64,
        }
    }
}

impl<D: Kernels> Running<D> {
    /// Starts from the weights in `student` with moments of zero.
    pub fn new(stage: &AdamW, global_batch: usize, student: Lent<D>, device: &D) -> Result<Self, D::Err> {
        let zeros =
            |len: usize| Ok(Moments { first: device.zeroed(len)?, second: device.zeroed(len)?, updates: 0 });
        let moments = student.parameters().iter().map(|p| zeros(p.tensor.len())).collect::<Result<_, _>>()?;
        let peak_lr = stage.lr_scaling.peak(stage.lr, global_batch);
        Ok(Running { stage: stage.clone(), peak_lr, student, moments, device: device.clone() })
    }

    /// The norm of each parameter's gradient. Every gradient is looked at before any weight is touched.
    fn norms(&self, gradients: &Gradients<D>) -> Result<Vec<f64>, StageError> {
        let norm = |(parameter, gradient): (crate::nn::parameter::Ref<'_, D>, &Buffer<D>)| {
            let norm = self.device.sum_of_squares(D::buffer(gradient)).map_err(failed)?.sqrt();
            match norm.is_finite() {
                true => Ok(norm),
                false => Err(StageError::NonFinite { what: format!("the gradient of {}", parameter.name) }),
            }
        };
        self.student.parameters().into_iter().zip(&gradients.buffers).map(norm).collect()
    }

    /// One update of the weights, and of an average of them that is at hand.
    fn step(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
        average: Option<&mut Average<D>>,
    ) -> Result<(), StageError> {
        let Some(Some(Value::Gradients(gradients))) = inputs.values.first() else {
            return Err(StageError::Bug("no gradients arrived".into()));
        };
        let norms = self.norms(gradients)?;
        let lr = self.stage.lr_course.at(self.peak_lr, at.step, at.horizon);
        let decay = self.stage.weight_decay.at(at.step, at.horizon);
        self.update(at, gradients, &norms, lr, decay, average)?;
        outputs.metrics.extend([
            ("lr", lr),
            ("weight_decay", decay),
            ("grad_norm", norms.iter().map(|n| n * n).sum::<f64>().sqrt()),
            ("grad_norm_max", norms.iter().copied().fold(0.0, f64::max)),
        ]);
        outputs.values[0] = Some(Value::Weights(self.student.clone()));
        Ok(())
    }

    /// Updates every parameter that is neither fixed nor frozen.
    fn update(
        &mut self,
        at: &Moment,
        gradients: &Gradients<D>,
        norms: &[f64],
        lr: f64,
        decay: f64,
        average: Option<&mut Average<D>>,
    ) -> Result<(), StageError> {
        let frozen = at.step < self.stage.freeze_last_layer.steps(at.horizon);
        let student = Arc::get_mut(&mut self.student)
            .ok_or_else(|| StageError::Bug("the student's weights are still lent to another stage".into()))?;
        let momentum = average.as_ref().map_or(0.0, |average| average.momentum);
        let mut averages = match average {
            Some(average) => averages(average)?,
            None => Vec::new(),
        }
        .into_iter();
        let state = self.moments.iter_mut().zip(&gradients.buffers).zip(norms);
        for (parameter, ((moments, gradient), &norm)) in student.parameters_mut().into_iter().zip(state) {
            let average = averages.next().map(|average| average.tensor.view_mut());
            // a frozen last layer is skipped altogether: no decay, no moments, no count (fixtures)
            if parameter.fixed || (frozen && parameter.name.starts_with("head.last_layer.")) {
                if let Some(average) = average {
                    self.device.lerp(average, parameter.tensor.view(), momentum).map_err(failed)?;
                }
                continue;
            }
            moments.updates += 1;
            let decay = if decays(&parameter.name, &parameter.dims) { decay } else { 0.0 };
            let (first, second) = (D::buffer_mut(&mut moments.first), D::buffer_mut(&mut moments.second));
            let ((beta1, beta2), epsilon) = (self.stage.betas, self.stage.epsilon);
            let (clip, gradient) = (self.stage.clip.factor(norm) as Float, D::buffer(gradient));
            let to = parameter.tensor.view_mut();
            let update = self.device.adamw(
                to,
                gradient,
                first,
                second,
                lr,
                decay,
                beta1,
                beta2,
                epsilon,
                moments.updates,
                clip,
                average,
                momentum,
            );
            update.map_err(failed)?;
        }
        Ok(())
    }
}

/// The parameters of an average, which is marked as moved.
fn averages<D: Device>(average: &mut Average<D>) -> Result<Vec<Mut<'_, D>>, StageError> {
    average.moved = true;
    let weights = Arc::get_mut(&mut average.weights)
        .ok_or_else(|| StageError::Bug("the teacher's weights are still lent to another stage".into()))?;
    Ok(weights.parameters_mut())
}

/// Weight decay spares biases and one-axis tensors.
fn decays(name: &str, dims: &[usize]) -> bool {
    dims.len() > 1 && !name.ends_with(".bias")
}

impl Clip {
    /// What a gradient of this norm is multiplied by.
    fn factor(self, norm: f64) -> f64 {
        match self {
            Clip::None => 1.0,
            Clip::PerParameter(most) => (most / (norm + 1e-6)).min(1.0),
        }
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn first(&mut self, outputs: &mut Outputs<'_, D>) -> Result<(), StageError> {
        outputs.values[0] = Some(Value::Weights(self.student.clone()));
        Ok(())
    }

    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        self.step(at, inputs, outputs, None)
    }

    fn fire_beside(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
        average: &mut Average<D>,
    ) -> Result<(), StageError> {
        self.step(at, inputs, outputs, Some(average))
    }

    fn save(&self) -> Result<State, StageError> {
        let mut state = weights::save(&self.device, self.student.as_ref(), "weights/")?;
        for (parameter, moments) in self.student.parameters().into_iter().zip(&self.moments) {
            let read = |buffer: &Buffer<D>| {
                let values = self.device.read(D::buffer(buffer)).map_err(failed)?;
                Ok(SavedTensor::F32 { dims: parameter.dims.clone(), values })
            };
            let name = &parameter.name;
            state.insert(format!("first_moment/{name}"), read(&moments.first)?);
            state.insert(format!("second_moment/{name}"), read(&moments.second)?);
            let updates = SavedTensor::U64 { dims: vec![], values: vec![moments.updates] };
            state.insert(format!("updates/{name}"), updates);
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        for (parameter, moments) in self.student.parameters().into_iter().zip(&mut self.moments) {
            let mut take = |what: &str| state.remove(&format!("{what}/{}", parameter.name));
            match (take("first_moment"), take("second_moment"), take("updates")) {
                (
                    Some(SavedTensor::F32 { values: first, .. }),
                    Some(SavedTensor::F32 { values: second, .. }),
                    Some(SavedTensor::U64 { values: updates, .. }),
                ) if first.len() == parameter.tensor.len()
                    && second.len() == first.len()
                    && updates.len() == 1 =>
                {
                    self.device.write(D::buffer_mut(&mut moments.first), &first).map_err(failed)?;
                    self.device.write(D::buffer_mut(&mut moments.second), &second).map_err(failed)?;
                    moments.updates = updates[0];
                }
                _ => {
                    return Err(StageError::Restore(format!(
                        "the moments of {} are missing or misshapen",
                        parameter.name
                    )));
                }
            }
        }
        let student = Arc::get_mut(&mut self.student)
            .ok_or_else(|| StageError::Bug("weights are restored while they are lent".into()))?;
        weights::load(&self.device, student, &mut state, "weights/")
    }
}
