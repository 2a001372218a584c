//! The running optimizer, whatever its rule.

use super::owned::{Owned, Pace, Trained};
use super::recipe::Recipe;
use super::rule::Rule;
use crate::kernels::Kernels;
use crate::nn::network::Gradients;
use crate::runtime::stage::{Average, Inputs, Moment, Outputs, Stage, StageError, State, Value};

/// Owns weights and updates them by a rule.
pub struct Running<D: Kernels> {
    rule: Box<dyn Rule<D>>,
    recipe: Recipe,
    peak_lr: f64,
    /// In the order of `trains`.
    owned: Vec<Owned<D>>,
    device: D,
}

impl<D: Kernels> Running<D> {
    /// Starts from these weights, one set for each node that it trains, with nothing kept of their past.
    pub fn new(
        rule: Box<dyn Rule<D>>,
        recipe: Recipe,
        global_batch: usize,
        weights: Vec<Trained<D>>,
        device: &D,
    ) -> Result<Self, D::Err> {
        let owned = weights.into_iter().map(|w| Owned::new(w, &*rule, device)).collect::<Result<_, _>>()?;
        let peak_lr = recipe.lr_scaling.peak(recipe.lr, global_batch);
        Ok(Running { rule, recipe, peak_lr, owned, device: device.clone() })
    }

    /// One update of the weights, and of an average of them that is at hand.
    fn step(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
        mut average: Option<&mut Average<D>>,
    ) -> Result<(), StageError> {
        let gradients = (0..self.owned.len()).map(|i| gradients(inputs, i)).collect::<Result<Vec<_>, _>>()?;
        // every gradient is looked at before any weight is touched
        let norms = self.owned.iter().zip(&gradients).map(|(owned, g)| owned.norms(&self.device, g));
        let norms: Option<Vec<_>> = norms.collect::<Result<Vec<_>, _>>()?.into_iter().collect();
        // where a scale was too large nothing moves, and the next step's is smaller
        let Some(norms) = norms else {
            self.owned.iter().for_each(|owned| owned.lend(outputs));
            return Ok(());
        };
        let all = || norms.iter().flatten().copied();
        let pace = Pace {
            lr: self.recipe.lr_course.at(self.peak_lr, at.step, at.horizon),
            decay: self.recipe.weight_decay.at(at.step, at.horizon),
            clip: self.recipe.clip,
            frozen: at.step < self.recipe.freeze_last_layer.steps(at.horizon),
            norm: all().map(|n| n * n).sum::<f64>().sqrt(),
        };
        for ((owned, gradients), norms) in self.owned.iter_mut().zip(gradients).zip(&norms) {
            let average = if owned.followed() { average.take() } else { None };
            owned.update(&self.device, &*self.rule, pace, (gradients, norms), average)?;
            owned.lend(outputs);
        }
        outputs.metrics.extend([
            ("lr", pace.lr),
            ("weight_decay", pace.decay),
            ("grad_norm", pace.norm),
            ("grad_norm_max", all().fold(0.0, f64::max)),
        ]);
        Ok(())
    }
}

/// The gradients of the network that is trained at this place.
fn gradients<'i, D: Kernels>(inputs: &Inputs<'i, D>, index: usize) -> Result<&'i Gradients<D>, StageError> {
    match inputs.values.get(index) {
        Some(Some(Value::Gradients(gradients))) => Ok(gradients),
        _ => Err(StageError::Bug("no gradients arrived".into())),
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn first(&mut self, outputs: &mut Outputs<'_, D>) -> Result<(), StageError> {
        self.owned.iter().for_each(|owned| owned.lend(outputs));
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
        let mut state = State::new();
        for owned in &self.owned {
            state.extend(owned.save(&self.device, &*self.rule)?);
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        let (device, rule) = (&self.device, &*self.rule);
        self.owned.iter_mut().try_for_each(|owned| owned.restore(device, rule, &mut state))
    }
}
