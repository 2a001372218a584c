//! The paper's teacher: an exponential moving average of the student (section 3.1).

use serde::{Deserialize, Serialize};

use super::Owned;
use crate::kernels::Kernels;
use crate::nn::network::Lent;
use crate::nn::weights::failed;
use crate::optim::schedule::Schedule;
use crate::runtime::stage::{Average, Inputs, Moment, Outputs, Stage, StageError, State};
use crate::stages::declare::*;
use crate::stages::range::Ranges;
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
        super::ports()
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.schedule("momentum", &self.momentum, |m| (0.0..=1.0).contains(&m), "0 to 1");
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        super::infer(given)
    }

    fn cost(&self, scope: &Scope, _given: &Given) -> Cost {
        super::cost(scope, 1.0, 3.0)
    }
}

/// The running average.
pub struct Running<D: Device> {
    momentum: Schedule,
    /// None while it is lent to the optimizer.
    teacher: Option<Owned<D>>,
    /// Whether the optimizer has moved the average of this step.
    moved: bool,
    device: D,
}

impl<D: Kernels> Running<D> {
    /// Starts from the student's first weights.
    pub fn new(stage: &Momentum, first: &Lent<D>, device: &D) -> Result<Self, D::Err> {
        let teacher = Some(Owned::new(first, device)?);
        Ok(Running { momentum: stage.momentum, teacher, moved: false, device: device.clone() })
    }

    fn teacher(&self) -> Result<&Owned<D>, StageError> {
        self.teacher.as_ref().ok_or_else(not_given_back)
    }

    fn teacher_mut(&mut self) -> Result<&mut Owned<D>, StageError> {
        self.teacher.as_mut().ok_or_else(not_given_back)
    }
}

fn not_given_back() -> StageError {
    StageError::Bug("the average was lent and not given back".into())
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn first(&mut self, outputs: &mut Outputs<'_, D>) -> Result<(), StageError> {
        self.teacher()?.lend(outputs);
        Ok(())
    }

    fn lend_average(&mut self, at: &Moment) -> Option<Average<D>> {
        let momentum = self.momentum.at(at.step, at.horizon);
        Some(Average { weights: self.teacher.take()?.weights, momentum, moved: false })
    }

    fn return_average(&mut self, average: Average<D>) {
        self.teacher = Some(Owned { weights: average.weights, device: self.device.clone() });
        self.moved = average.moved;
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
            let averages = self.teacher_mut()?.alone()?.parameters_mut();
            for (average, new) in averages.into_iter().zip(student.parameters()) {
                device.lerp(average.tensor.view_mut(), new.tensor.view(), momentum).map_err(failed)?;
            }
        }
        outputs.metrics.push(("teacher_momentum", momentum));
        self.teacher()?.lend(outputs);
        Ok(())
    }

    fn save(&self) -> Result<State, StageError> {
        self.teacher()?.save("weights/")
    }

    fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        self.teacher_mut()?.restore(&mut state, "weights/")
    }
}
