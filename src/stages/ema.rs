//! `ema`: the teacher's rule: an exponential moving average of the student (section 3.1).
use crate::optim::schedule::Schedule;
use serde::{Deserialize, Serialize};

use std::sync::Arc;

use super::declare::*;
use super::range::Ranges;
use super::types::Types;
use crate::kernels::Kernels;
use crate::nn::network::Lent;
use crate::nn::weights::{self, failed};
use crate::plan::cost;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, State, Value};
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
    teacher: Lent<D>,
    device: D,
}

impl<D: Device> Running<D> {
    /// Starts from the student's first weights, `first`, under fresh tensor ids.
    pub fn new(stage: &Momentum, first: &Lent<D>, device: &D) -> Result<Self, D::Err> {
        Ok(Running { momentum: stage.momentum, teacher: first.fresh_copy()?, device: device.clone() })
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn first(&mut self, outputs: &mut Outputs<'_, D>) -> Result<(), StageError> {
        outputs.values[0] = Some(Value::Weights(self.teacher.clone()));
        Ok(())
    }

    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let momentum = self.momentum.at(at.step, at.horizon);
        let student = inputs.weights(0)?;
        let teacher = Arc::get_mut(&mut self.teacher)
            .ok_or_else(|| StageError::Bug("the teacher's weights are still lent to another stage".into()))?;
        for (average, new) in teacher.parameters_mut().into_iter().zip(student.parameters()) {
            self.device.lerp(average.tensor.view_mut(), new.tensor.view(), momentum).map_err(failed)?;
        }
        outputs.metrics.push(("teacher_momentum", momentum));
        outputs.values[0] = Some(Value::Weights(self.teacher.clone()));
        Ok(())
    }

    fn save(&self) -> Result<State, StageError> {
        weights::save(&self.device, self.teacher.as_ref(), "weights/")
    }

    fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        let teacher = Arc::get_mut(&mut self.teacher)
            .ok_or_else(|| StageError::Bug("weights are restored while they are lent".into()))?;
        weights::load(&self.device, teacher, &mut state, "weights/")
    }
}
