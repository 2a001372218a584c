//! `ema`: the teacher's rule: what the teacher's weights are, given the student's. It owns the teacher's weights.
//!
//! At step t the student uses w(t), which the optimizer left after step t - 1. What the teacher uses at step t:
//!
//! | rule | at step t |
//! | --- | --- |
//! | [`Momentum`] | an exponential moving average of w(0) … w(t) (section 3.1) |
//! | [`StudentCopy`] | w(t) |
//! | [`PreviousIteration`] | w(t - 1), and w(0) at step 0 |
//! | [`PreviousEpoch`] | w at the first step of t's epoch |
//!
//! All but the first and the last collapse, as the paper's table of teachers says (section 5.2).

mod momentum;
mod previous_epoch;
mod previous_iteration;
mod student_copy;

use std::sync::Arc;

pub use momentum::Momentum;
pub use previous_epoch::PreviousEpoch;
pub use previous_iteration::PreviousIteration;
pub use student_copy::StudentCopy;

use super::declare::*;
use super::types::Types;
use crate::kernels::Kernels;
use crate::nn::network::{Lent, Network};
use crate::nn::weights::{self, failed};
use crate::plan::cost;
use crate::runtime::stage::{Outputs, StageError, State, Value};
use crate::tensor::Device;

/// The running rules.
pub mod running {
    pub use super::momentum::Running as Momentum;
    pub use super::previous_epoch::Running as PreviousEpoch;
    pub use super::previous_iteration::Running as PreviousIteration;
    pub use super::student_copy::Running as StudentCopy;
}

/// The ports of every rule.
fn ports() -> Ports {
    Ports {
        inputs: vec![Port::new("student", "the student's weights after the update")],
        outputs: vec![Port::new("weights", "the teacher's weights")],
    }
}

fn infer(given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
    let mut types = Types::new(given);
    types.only("student", &EdgeType::Weights);
    types.finish(vec![EdgeType::Weights])
}

/// The cost of a rule that keeps so many sets of weights and does so many operations for each of them.
fn cost(scope: &Scope, sets: f64, flops: f64) -> Cost {
    let parameters = cost::parameters(&scope.graph.network);
    let resident = sets * cost::FLOAT * parameters as f64;
    Cost { parameters, flops: flops * parameters as f64, bytes: resident, resident }
}

/// A set of weights that a rule owns.
struct Owned<D: Device> {
    weights: Lent<D>,
    device: D,
}

impl<D: Kernels> Owned<D> {
    /// A copy of the student's first weights, under fresh tensor ids.
    fn new(first: &Lent<D>, device: &D) -> Result<Self, D::Err> {
        Ok(Owned { weights: first.fresh_copy()?, device: device.clone() })
    }

    fn alone(&mut self) -> Result<&mut (dyn Network<D> + 'static), StageError> {
        Arc::get_mut(&mut self.weights).map(|weights| &mut **weights).ok_or_else(still_lent)
    }

    /// Takes over these numbers.
    fn copy(&mut self, from: &Lent<D>) -> Result<(), StageError> {
        let device = self.device.clone();
        for (to, from) in self.alone()?.parameters_mut().into_iter().zip(from.parameters()) {
            device.copy_to(0, from.tensor.view(), to.tensor.view_mut()).map_err(failed)?;
        }
        Ok(())
    }

    /// Lends the weights for a step.
    fn lend(&self, outputs: &mut Outputs<'_, D>) {
        outputs.values[0] = Some(Value::Weights(self.weights.clone()));
    }

    fn save(&self, prefix: &str) -> Result<State, StageError> {
        weights::save(&self.device, self.weights.parameters(), prefix)
    }

    fn restore(&mut self, state: &mut State, prefix: &str) -> Result<(), StageError> {
        let device = self.device.clone();
        weights::load(&device, self.alone()?.parameters_mut(), state, prefix)
    }
}

fn still_lent() -> StageError {
    StageError::Bug("the teacher's weights are still lent to another stage".into())
}

#[cfg(test)]
mod tests;
