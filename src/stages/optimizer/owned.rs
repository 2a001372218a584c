//! The weights that an optimizer owns, of one node that it trains, with what its rule keeps of them.

use std::sync::Arc;

use super::recipe::Clip;
use super::rule::{Rule, Update};
use crate::kernels::Kernels;
use crate::nn::network::{Gradients, Lent};
use crate::nn::parameter::{Mut, Ref};
use crate::nn::predictor::Predictor;
use crate::nn::weights::{self, failed};
use crate::runtime::stage::{Average, Outputs, SavedTensor, StageError, State, Value};
use crate::tensor::{Buffer, Crossing, Device, Float};

/// What can be trained.
pub enum Trained<D: Device> {
    /// A student: lent at the output `weights`, saved under its published keys.
    Network(Lent<D>),
    /// A predictor: lent at the output `predictor`, saved in the state file alone.
    Predictor(Arc<Crossing<Predictor<D>>>),
}

impl<D: Kernels> Trained<D> {
    fn parameters(&self) -> Vec<Ref<'_, D>> {
        match self {
            Trained::Network(network) => network.parameters(),
            Trained::Predictor(predictor) => predictor.parameters(),
        }
    }

    /// The parameters, where nobody else looks at them.
    fn parameters_mut(&mut self) -> Result<Vec<Mut<'_, D>>, StageError> {
        let lent = |whose| StageError::Bug(format!("the {whose}'s weights are still lent to another stage"));
        match self {
            Trained::Network(network) => {
                Ok(Arc::get_mut(network).ok_or_else(|| lent("student"))?.parameters_mut())
            }
            Trained::Predictor(predictor) => {
                Ok(Arc::get_mut(predictor).ok_or_else(|| lent("predictor"))?.parameters_mut())
            }
        }
    }

    /// What stands before the parameters' names in a saved state.
    fn prefix(&self) -> &'static str {
        match self {
            Trained::Network(_) => "weights/",
            Trained::Predictor(_) => "",
        }
    }
}

/// What one step tells every parameter's update.
#[derive(Clone, Copy)]
pub struct Pace {
    pub lr: f64,
    pub decay: f64,
    pub clip: Clip,
    /// Whether the head's last layer stays as it is.
    pub frozen: bool,
    /// The norm over all gradients.
    pub norm: f64,
}

/// One node's weights, and what the rule keeps of each parameter.
pub struct Owned<D: Device> {
    weights: Trained<D>,
    kept: Vec<Kept<D>>,
}

/// What a rule keeps of one parameter, and how often it was updated.
struct Kept<D: Device> {
    buffers: Vec<Buffer<D>>,
    updates: u64,
}

impl<D: Kernels> Owned<D> {
    /// These weights, with nothing kept of their past.
    pub fn new(weights: Trained<D>, rule: &dyn Rule<D>, device: &D) -> Result<Self, D::Err> {
        let zeros = |len: usize| -> Result<Kept<D>, D::Err> {
            let buffers = rule.keeps().iter().map(|_| device.zeroed(len)).collect::<Result<_, _>>()?;
            Ok(Kept { buffers, updates: 0 })
        };
        let kept = weights.parameters().iter().map(|p| zeros(p.tensor.len())).collect::<Result<_, _>>()?;
        Ok(Owned { weights, kept })
    }

    /// Whether an average follows them.
    pub fn followed(&self) -> bool {
        matches!(self.weights, Trained::Network(_))
    }

    /// The norm of each parameter's gradient; none where the scale that they came with was too large for one of them.
    ///
    /// # Errors
    /// When a gradient without a scale holds a number that is none, or is not there.
    pub fn norms(&self, device: &D, gradients: &Gradients<D>) -> Result<Option<Vec<f64>>, StageError> {
        let parameters = self.weights.parameters();
        if parameters.len() != gradients.buffers.len() {
            return Err(StageError::Bug("gradients of another network arrived".into()));
        }
        let squares = match &gradients.squares {
            Some(squares) => squares.clone(),
            None => {
                let views: Vec<_> = gradients.buffers.iter().map(D::buffer).collect();
                device.sums_of_squares(&views).map_err(failed)?
            }
        };
        let wrong = parameters.iter().zip(&squares).find(|(_, square)| !square.is_finite());
        match wrong {
            Some(_) if gradients.scale > 1.0 => Ok(None),
            Some((parameter, _)) => {
                Err(StageError::NonFinite { what: format!("the gradient of {}", parameter.name) })
            }
            None => {
                let scale = f64::from(gradients.scale);
                Ok(Some(squares.into_iter().map(|square| square.sqrt() / scale).collect()))
            }
        }
    }

    /// Updates every parameter that is neither fixed nor frozen, and an average of them that is at hand.
    pub fn update(
        &mut self,
        device: &D,
        rule: &dyn Rule<D>,
        pace: Pace,
        (gradients, norms): (&Gradients<D>, &[f64]),
        average: Option<&mut Average<D>>,
    ) -> Result<(), StageError> {
        let momentum = average.as_ref().map_or(0.0, |average| average.momentum);
        let mut averages = average.map(averages).transpose()?.unwrap_or_default().into_iter();
        let state = self.kept.iter_mut().zip(&gradients.buffers).zip(norms);
        for (parameter, ((kept, gradient), &norm)) in self.weights.parameters_mut()?.into_iter().zip(state) {
            let average = averages.next().map(|average| average.tensor.view_mut());
            // a frozen last layer is skipped altogether: no decay, no moments, no count (fixtures)
            if parameter.fixed || (pace.frozen && parameter.name.starts_with("head.last_layer.")) {
                if let Some(average) = average {
                    device.lerp(average, parameter.tensor.view(), momentum).map_err(failed)?;
                }
                continue;
            }
            kept.updates += 1;
            let update = Update {
                axes: parameter.dims.len(),
                gradient: D::buffer(gradient),
                scale: pace.clip.factor(norm, pace.norm) as Float / gradients.scale,
                lr: pace.lr,
                decay: if decays(&parameter.name, &parameter.dims) { pace.decay } else { 0.0 },
                weights: parameter.tensor,
                kept: &mut kept.buffers,
                updates: kept.updates,
                average,
                momentum,
            };
            rule.update(device, update)?;
        }
        Ok(())
    }

    /// Lends the weights for a step.
    pub fn lend(&self, outputs: &mut Outputs<'_, D>) {
        match &self.weights {
            Trained::Network(network) => outputs.values[0] = Some(Value::Weights(network.clone())),
            Trained::Predictor(predictor) => outputs.values[1] = Some(Value::Predictor(predictor.clone())),
        }
    }

    /// Weights and what is kept of them.
    pub fn save(&self, device: &D, rule: &dyn Rule<D>) -> Result<State, StageError> {
        let mut state = weights::save(device, self.weights.parameters(), self.weights.prefix())?;
        for (parameter, kept) in self.weights.parameters().into_iter().zip(&self.kept) {
            let name = &parameter.name;
            for (what, buffer) in rule.keeps().iter().zip(&kept.buffers) {
                let values = device.read(D::buffer(buffer)).map_err(failed)?;
                let saved = SavedTensor::F32 { dims: parameter.dims.clone(), values };
                state.insert(format!("{what}/{name}"), saved);
            }
            let updates = SavedTensor::U64 { dims: vec![], values: vec![kept.updates] };
            state.insert(format!("updates/{name}"), updates);
        }
        Ok(state)
    }

    /// Takes its own back out of `state`.
    pub fn restore(&mut self, device: &D, rule: &dyn Rule<D>, state: &mut State) -> Result<(), StageError> {
        for (parameter, kept) in self.weights.parameters().into_iter().zip(&mut self.kept) {
            kept.restore(device, rule.keeps(), (&parameter.name, parameter.tensor.len()), state)?;
        }
        let prefix = self.weights.prefix();
        weights::load(device, self.weights.parameters_mut()?, state, prefix)
    }
}

impl<D: Device> Kept<D> {
    /// Takes back what was saved of a parameter of this name and size.
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
