//! `ema`: the teacher's rule: an exponential moving average of the student (section 3.1).
use crate::optim::schedule::Schedule;
use serde::{Deserialize, Serialize};

use std::sync::Arc;

use super::declare::*;
use super::range::Ranges;
use super::types::Types;
use crate::kernels::Kernels;
use crate::nn::network::{Lent, Network};
use crate::nn::weights::{self, failed};
use crate::plan::cost;
use crate::runtime::stage::{Average, Inputs, Moment, Outputs, Stage, StageError, State, Value};
use crate::tensor::Device;

/// teacher = m · teacher + (1 - m) · student over all parameters, after the student's update.
/// Inputs: the student's `student` weights; output `weights`, which it owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Momentum {
    pub momentum: Schedule,
}

impl Default for Momentum {
    fn default() -> Self {
        Momentum { momentum: Schedule::Cosine { from: 0.996, to: 1.0 } }
    }
}

impl Declare for Momentum {
    fn role(&self) -> Role {
        Role::Ema
    }

    fn rate(&self) -> Rate {
        Rate::Step
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("student", "the student's weights after the update")],
            outputs: vec![Port::new("weights", "the teacher's weights")],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.schedule("momentum", &self.momentum, |m| (0.0..=1.0).contains(&m), "0 to 1");
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("student", &EdgeType::Weights);
        types.finish(vec![EdgeType::Weights])
    }

    fn cost(&self, scope: &Scope, _given: &Given) -> Cost {
        let parameters = cost::parameters(&scope.graph.network);
        let resident = cost::FLOAT * parameters as f64;
        Cost { parameters, flops: 3.0 * parameters as f64, bytes: resident, resident }
    }
}

/// The running average. It owns the teacher's weights.
pub struct Running<D: Device> {
    momentum: Schedule,
    /// None while it is lent to the optimizer.
    teacher: Option<Lent<D>>,
    /// Whether the optimizer has moved the average of this step.
    moved: bool,
    device: D,
}

impl<D: Device> Running<D> {
    /// Starts from the student's first weights, `first`, under fresh tensor ids.
    pub fn new(stage: &Momentum, first: &Lent<D>, device: &D) -> Result<Self, D::Err> {
        let teacher = Some(first.fresh_copy()?);
        Ok(Running { momentum: stage.momentum, teacher, moved: false, device: device.clone() })
    }

    fn teacher(&self) -> Result<&Lent<D>, StageError> {
        self.teacher.as_ref().ok_or_else(|| StageError::Bug("the average was lent and not given back".into()))
    }

    fn teacher_mut(&mut self) -> Result<&mut (dyn Network<D> + 'static), StageError> {
        let teacher = self.teacher.as_mut().and_then(Arc::get_mut);
        teacher.ok_or_else(|| StageError::Bug("the teacher's weights are still lent to another stage".into()))
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn first(&mut self, outputs: &mut Outputs<'_, D>) -> Result<(), StageError> {
        outputs.values[0] = Some(Value::Weights(self.teacher()?.clone()));
        Ok(())
    }

    fn lend_average(&mut self, at: &Moment) -> Option<Average<D>> {
        let momentum = self.momentum.at(at.step, at.horizon);
        Some(Average { weights: self.teacher.take()?, momentum, moved: false })
    }

    fn return_average(&mut self, average: Average<D>) {
        (self.teacher, self.moved) = (Some(average.weights), average.moved);
    }

    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let momentum = self.momentum.at(at.step, at.horizon);
        if !std::mem::take(&mut self.moved) {
            let (student, device) = (inputs.weights(0)?, self.device.clone());
            for (average, new) in self.teacher_mut()?.parameters_mut().into_iter().zip(student.parameters()) {
                device.lerp(average.tensor.view_mut(), new.tensor.view(), momentum).map_err(failed)?;
            }
        }
        outputs.metrics.push(("teacher_momentum", momentum));
        outputs.values[0] = Some(Value::Weights(self.teacher()?.clone()));
        Ok(())
    }

    fn save(&self) -> Result<State, StageError> {
        weights::save(&self.device, self.teacher()?.as_ref(), "weights/")
    }

    fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        let device = self.device.clone();
        weights::load(&device, self.teacher_mut()?, &mut state, "weights/")
    }
}
