//! The running optimizer, whatever its rule: it owns the student's weights and what the rule keeps of each parameter.

use std::sync::Arc;

use super::recipe::Recipe;
use super::rule::{Rule, Update};
use crate::kernels::Kernels;
use crate::nn::network::{Gradients, Lent, Network};
use crate::nn::parameter::Mut;
use crate::nn::weights::{self, failed};
use crate::runtime::stage::{Average, Inputs, Moment, Outputs, SavedTensor, Stage, StageError, State, Value};
use crate::tensor::{Buffer, Device, Float};

/// Owns weights and updates them by a rule.
pub struct Running<D: Kernels> {
    rule: Box<dyn Rule<D>>,
    recipe: Recipe,
    peak_lr: f64,
    student: Lent<D>,
    /// In the order of the network's parameters.
    kept: Vec<Kept<D>>,
    device: D,
}

/// What a rule keeps of one parameter, and how often it was updated.
struct Kept<D: Device> {
    buffers: Vec<Buffer<D>>,
    updates: u64,
}

/// What one step tells every parameter's update.
#[derive(Clone, Copy)]
struct Pace {
    lr: f64,
    decay: f64,
    /// Whether the head's last layer stays as it is.
    frozen: bool,
    /// The norm over all gradients.
    norm: f64,
}

impl<D: Kernels> Running<D> {
    /// Starts from the weights in `student`, with nothing kept of their past.
    pub fn new(
        rule: Box<dyn Rule<D>>,
        recipe: Recipe,
        global_batch: usize,
        student: Lent<D>,
        device: &D,
    ) -> Result<Self, D::Err> {
        let zeros = |len: usize| -> Result<Kept<D>, D::Err> {
            let buffers = rule.keeps().iter().map(|_| device.zeroed(len)).collect::<Result<_, _>>()?;
            Ok(Kept { buffers, updates: 0 })
        };
        let kept = student.parameters().iter().map(|p| zeros(p.tensor.len())).collect::<Result<_, _>>()?;
        let peak_lr = recipe.lr_scaling.peak(recipe.lr, global_batch);
        Ok(Running { rule, recipe, peak_lr, student, kept, device: device.clone() })
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
        let pace = Pace {
            lr: self.recipe.lr_course.at(self.peak_lr, at.step, at.horizon),
            decay: self.recipe.weight_decay.at(at.step, at.horizon),
            frozen: at.step < self.recipe.freeze_last_layer.steps(at.horizon),
            norm: norms.iter().map(|n| n * n).sum::<f64>().sqrt(),
        };
        self.update(pace, gradients, &norms, average)?;
        outputs.metrics.extend([
            ("lr", pace.lr),
            ("weight_decay", pace.decay),
            ("grad_norm", pace.norm),
            ("grad_norm_max", norms.iter().copied().fold(0.0, f64::max)),
        ]);
        outputs.values[0] = Some(Value::Weights(self.student.clone()));
        Ok(())
    }

    /// Updates every parameter that is neither fixed nor frozen.
    fn update(
        &mut self,
        pace: Pace,
        gradients: &Gradients<D>,
        norms: &[f64],
        average: Option<&mut Average<D>>,
    ) -> Result<(), StageError> {
        let momentum = average.as_ref().map_or(0.0, |average| average.momentum);
        let mut averages = average.map(averages).transpose()?.unwrap_or_default().into_iter();
        let student = alone(&mut self.student)?;
        let state = self.kept.iter_mut().zip(&gradients.buffers).zip(norms);
        for (parameter, ((kept, gradient), &norm)) in student.parameters_mut().into_iter().zip(state) {
            let average = averages.next().map(|average| average.tensor.view_mut());
            // a frozen last layer is skipped altogether: no decay, no moments, no count (fixtures)
            if parameter.fixed || (pace.frozen && parameter.name.starts_with("head.last_layer.")) {
                if let Some(average) = average {
                    self.device.lerp(average, parameter.tensor.view(), momentum).map_err(failed)?;
                }
                continue;
            }
            kept.updates += 1;
            let update = Update {
                axes: parameter.dims.len(),
                gradient: D::buffer(gradient),
                scale: self.recipe.clip.factor(norm, pace.norm) as Float,
                lr: pace.lr,
                decay: if decays(&parameter.name, &parameter.dims) { pace.decay } else { 0.0 },
                weights: parameter.tensor,
                kept: &mut kept.buffers,
                updates: kept.updates,
                average,
                momentum,
            };
            self.rule.update(&self.device, update)?;
        }
        Ok(())
    }

    /// Reads what is kept of a parameter of this name and shape.
    fn saved(&self, name: &str, dims: &[usize], kept: &Kept<D>, state: &mut State) -> Result<(), StageError> {
        for (what, buffer) in self.rule.keeps().iter().zip(&kept.buffers) {
            let values = self.device.read(D::buffer(buffer)).map_err(failed)?;
            state.insert(format!("{what}/{name}"), SavedTensor::F32 { dims: dims.to_vec(), values });
        }
        let updates = SavedTensor::U64 { dims: vec![], values: vec![kept.updates] };
        state.insert(format!("updates/{name}"), updates);
        Ok(())
    }
}

/// Weights that nobody else looks at.
fn alone<D: Device>(weights: &mut Lent<D>) -> Result<&mut (dyn Network<D> + 'static), StageError> {
    Arc::get_mut(weights)
        .ok_or_else(|| StageError::Bug("the student's weights are still lent to another stage".into()))
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

impl<D: Device> Kept<D> {
    /// Takes back what was saved of a parameter of this name.
    fn restore(
        &mut self,
        device: &D,
        words: &[&str],
        (name, len): (&str, usize),
        state: &mut State,
    ) -> Result<(), StageError> {
        let misfit = || StageError::Restore(format!("what is kept of {name} is missing or misshapen"));
        for (what, buffer) in words.iter().zip(&mut self.buffers) {
            match state.remove(&format!("{what}/{name}")) {
                Some(SavedTensor::F32 { values, .. }) if values.len() == len => {
                    device.write(D::buffer_mut(buffer), &values).map_err(failed)?;
                }
                _ => return Err(misfit()),
            }
        }
        match state.remove(&format!("updates/{name}")) {
            Some(SavedTensor::U64 { values, .. }) if values.len() == 1 => self.updates = values[0],
            _ => return Err(misfit()),
        }
        Ok(())
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
        for (parameter, kept) in self.student.parameters().into_iter().zip(&self.kept) {
            self.saved(&parameter.name, &parameter.dims, kept, &mut state)?;
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        for (parameter, kept) in self.student.parameters().into_iter().zip(&mut self.kept) {
            let which = (parameter.name.as_str(), parameter.tensor.len());
            kept.restore(&self.device, self.rule.keeps(), which, &mut state)?;
        }
        weights::load(&self.device, alone(&mut self.student)?, &mut state, "weights/")
    }
}
