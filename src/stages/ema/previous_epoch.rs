//! A teacher that stays as it is for an epoch: the student at the epoch's start. It does not collapse.

use serde::{Deserialize, Serialize};

use super::Owned;
use crate::kernels::Kernels;
use crate::nn::network::Lent;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, State};
use crate::stages::declare::*;
use crate::tensor::Device;

/// teacher = the student at the end of the last epoch; in the first epoch its first weights.
/// Inputs: the student's `student` weights; output `weights`, which it owns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreviousEpoch {}

impl Declare for PreviousEpoch {
    fn role(&self) -> Role {
        Role::Ema
    }

    fn rate(&self) -> Rate {
        Rate::Step
    }

    fn ports(&self) -> Ports {
        super::ports()
    }

    fn problems(&self, _scope: &Scope) -> Vec<Problem> {
        Vec::new()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        super::infer(given)
    }

    fn cost(&self, scope: &Scope, _given: &Given) -> Cost {
        super::cost(scope, 1.0, 0.0)
    }
}

/// The running rule.
pub struct Running<D: Device> {
    teacher: Owned<D>,
}

impl<D: Kernels> Running<D> {
    /// Starts from the student's first weights.
    pub fn new(first: &Lent<D>, device: &D) -> Result<Self, D::Err> {
        Ok(Running { teacher: Owned::new(first, device)? })
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn first(&mut self, outputs: &mut Outputs<'_, D>) -> Result<(), StageError> {
        self.teacher.lend(outputs);
        Ok(())
    }

    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let next = Moment { step: at.step + 1, ..*at };
        if next.epoch() > at.epoch() {
            self.teacher.copy(inputs.weights(0)?)?;
        }
        self.teacher.lend(outputs);
        Ok(())
    }

    fn save(&self) -> Result<State, StageError> {
        self.teacher.save("weights/")
    }

    fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        self.teacher.restore(&mut state, "weights/")
    }
}
