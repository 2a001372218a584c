//! A teacher one step behind the student. It collapses, as the paper's does.

use serde::{Deserialize, Serialize};

use super::Owned;
use crate::kernels::Kernels;
use crate::nn::network::Lent;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, State};
use crate::stages::declare::*;
use crate::tensor::Device;

/// teacher = the student as it was before its last update; at step 0 its first weights.
/// Inputs: the student's `student` weights; output `weights`, which it owns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreviousIteration {}

impl Declare for PreviousIteration {
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
        super::cost(scope, 2.0, 0.0)
    }
}

/// The running delay.
pub struct Running<D: Device> {
    teacher: Owned<D>,
    /// The student's weights after its last update: the next step's teacher.
    latest: Owned<D>,
}

/// What the latest weights are called in a saved state.
const LATEST: &str = "latest/";

impl<D: Kernels> Running<D> {
    /// Starts from the student's first weights.
    pub fn new(first: &Lent<D>, device: &D) -> Result<Self, D::Err> {
        Ok(Running { teacher: Owned::new(first, device)?, latest: Owned::new(first, device)? })
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn first(&mut self, outputs: &mut Outputs<'_, D>) -> Result<(), StageError> {
        self.teacher.lend(outputs);
        Ok(())
    }

    fn fire(
        &mut self,
        _: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        // the old teacher's memory takes the new weights
        self.teacher.copy(inputs.weights(0)?)?;
        std::mem::swap(&mut self.teacher, &mut self.latest);
        self.teacher.lend(outputs);
        Ok(())
    }

    fn save(&self) -> Result<State, StageError> {
        let mut state = self.teacher.save("weights/")?;
        state.extend(self.latest.save(LATEST)?);
        Ok(state)
    }

    fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        self.teacher.restore(&mut state, "weights/")?;
        self.latest.restore(&mut state, LATEST)
    }
}
