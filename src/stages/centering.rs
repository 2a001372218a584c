//! `center`: centring and sharpening of the teacher's logits (section 3.1, equation 4).
use crate::optim::schedule::{Every, Schedule, Span};
use serde::{Deserialize, Serialize};

use super::declare::*;
use super::range::Ranges;
use super::types::Types;
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::plan::cost::FLOAT;
use crate::runtime::stage::{Inputs, Moment, Outputs, SavedTensor, Stage, StageError, State, Value};
use crate::tensor::{Batched, Device};

/// Targets softmax((t - c) / temperature) with c, the running mean of the teacher's logits from before this step.
/// Input `logits`; output `targets` (2, B, K).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Centering {
    /// How much of the old centre a step keeps.
    pub momentum: f64,
    /// The teacher's temperature; it steps by epoch.
    pub temperature: Schedule,
}

impl Default for Centering {
    fn default() -> Self {
        let temperature =
            Schedule::Linear { from: 0.04, to: 0.07, over: Span::Epochs(30.0), every: Every::Epoch };
        Centering { momentum: 0.9, temperature }
    }
}

impl Declare for Centering {
    fn role(&self) -> Role {
        Role::Center
    }

    fn rate(&self) -> Rate {
        Rate::Step
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("logits", "the teacher's logits of the whole batch (2, B, K)")],
            outputs: vec![Port::new("targets", "a probability for each prototype (2, B, K)")],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.number("momentum", self.momentum, |m| (0.0..=1.0).contains(&m), "0 to 1");
        ranges.schedule("temperature", &self.temperature, |t| t > 0.0 && t < 1e6, "a number above 0");
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        let logits = types.needed("logits", "(views, batch, K)");
        let dims = logits.map(|logits| logits.dims).unwrap_or_default();
        types.finish(vec![EdgeType::Tensor { dims, batch: Some((1, Batch::Whole)) }])
    }

    fn cost(&self, _scope: &Scope, given: &Given) -> Cost {
        let Some(logits) = Types::new(given).tensor("logits", "(views, batch, K)") else {
            return Cost::default();
        };
        let (all, prototypes) = (logits.dims.iter().product::<usize>() as f64, logits.dims[2] as f64);
        let resident = FLOAT * prototypes;
        Cost { parameters: 0, flops: 5.0 * all, bytes: resident + FLOAT * all, resident }
    }
}

/// The running centre.
pub struct Running<D: Device> {
    stage: Centering,
    /// (K); none before the first step, when it is zero.
    center: Option<Batched<D>>,
    /// The centre after this step, not yet committed.
    pending: Option<Batched<D>>,
    device: D,
}

impl<D: Device> Running<D> {
    /// A centre of zeros.
    pub fn new(stage: &Centering, device: &D) -> Self {
        Running { stage: stage.clone(), center: None, pending: None, device: device.clone() }
    }
}

impl<D: Kernels> Running<D> {
    /// momentum · centre + (1 - momentum) · mean of the rows, and its length.
    fn moved(&self, logits: &Batched<D>, rows: usize, k: usize) -> Result<(Batched<D>, f64), D::Err> {
        let mut mean = Batched::empty(&self.device, vec![k], None)?;
        self.device.column_mean(rows, k, logits.view(), mean.view_mut())?;
        let mut moved = match &self.center {
            Some(center) => center.clone(),
            None => Batched::from_host(&self.device, vec![0.0; k], vec![k], None)?,
        };
        self.device.lerp(moved.view_mut(), mean.view(), self.stage.momentum)?;
        let length = self.device.sum_of_squares(moved.view())?.sqrt();
        Ok((moved, length))
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let logits = inputs.tensor(0)?;
        let k = logits.dims[logits.dims.len() - 1];
        let rows = logits.dims.iter().product::<usize>() / k;
        let temperature = self.stage.temperature.at(at.step, at.horizon);
        let mut targets = Batched::empty(&self.device, logits.dims.clone(), logits.batch).map_err(failed)?;
        let mut entropy = Batched::empty(&self.device, vec![rows], None).map_err(failed)?;
        let center = self.center.as_ref().map(Batched::view);
        let (to, rows_entropy) = (targets.view_mut(), entropy.view_mut());
        let softmax = self.device.centered_softmax(
            rows,
            k,
            logits.view(),
            center,
            temperature as f32,
            to,
            rows_entropy,
        );
        softmax.map_err(failed)?;
        let (pending, length) = self.moved(logits, rows, k).map_err(failed)?;
        self.pending = Some(pending);
        let of_rows = entropy.to_host().map_err(failed)?;
        let mean_entropy = of_rows.iter().map(|&e| f64::from(e)).sum::<f64>() / rows as f64;
        let of_mean = self.device.entropy_of_mean(rows, k, targets.view()).map_err(failed)?;
        outputs.metrics.extend([
            ("teacher_temperature", temperature),
            ("teacher_entropy", mean_entropy),
            ("batch_entropy", of_mean),
            ("center_norm", length),
        ]);
        outputs.values[0] = Some(Value::Tensor(targets));
        Ok(())
    }

    fn commit(&mut self, _: &Moment) {
        if let Some(pending) = self.pending.take() {
            self.center = Some(pending);
        }
    }

    fn save(&self) -> Result<State, StageError> {
        let Some(center) = &self.center else { return Ok(State::new()) };
        let saved = SavedTensor::F32 { dims: center.dims.clone(), values: center.to_host().map_err(failed)? };
        Ok(State::from([("center".into(), saved)]))
    }

    fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        self.center = match state.remove("center") {
            None => None,
            Some(SavedTensor::F32 { dims, values }) => {
                Some(Batched::from_host(&self.device, values, dims, None).map_err(failed)?)
            }
            Some(_) => return Err(StageError::Restore("center does not hold 32-bit floats".into())),
        };
        Ok(())
    }
}
