//! `loss`: swapped prediction (SwAV: Caron et al. 2020): each view predicts the codes of the others, without a teacher.
use serde::{Deserialize, Serialize};

use super::{LOGITS, Measure, Measured, Pairs};
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::runtime::stage::{Inputs, Moment, StageError};
use crate::stages::declare::*;
use crate::stages::range::Ranges;
use crate::tensor::{Batched, Device};

/// Mean over pairs (global view i, student view v, v ≠ i) of the batch-mean cross-entropy to view i's codes: Sinkhorn-Knopp of the
/// student's own logits over the batch, through which no gradient flows. Inputs `logits`, and `cls` for KoLeo; output `loss`, in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwappedPrediction {
    /// What the student's logits are divided by where they predict.
    pub temperature: f64,
    /// What they are divided by where they make codes: small for sharp ones.
    pub epsilon: f64,
    /// Rounds of Sinkhorn-Knopp.
    pub iterations: usize,
    /// The weight of KoLeo, which is added to the loss.
    pub koleo: f64,
}

impl Default for SwappedPrediction {
    fn default() -> Self {
        SwappedPrediction { temperature: 0.1, epsilon: 0.05, iterations: 3, koleo: 0.0 }
    }
}

/// What the logits are held against: nothing of the teacher's.
const AGAINST: Option<&str> = None;

impl Declare for SwappedPrediction {
    fn role(&self) -> Role {
        Role::Loss
    }

    fn rate(&self) -> Rate {
        Rate::Micro
    }

    fn ports(&self) -> Ports {
        super::ports()
    }

    fn uses(&self, input: &str) -> Use {
        super::uses(input, AGAINST, self.koleo)
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.number("temperature", self.temperature, |t| t > 0.0 && t < 1e6, "a number above 0");
        ranges.number("epsilon", self.epsilon, |t| t > 0.0 && t < 1e6, "a number above 0");
        ranges.count("iterations", self.iterations, 1, 1000);
        let why = "codes use every prototype alike within the whole batch";
        super::whole_batch("iterations", why, "choose another loss", &mut ranges, scope);
        super::judge_koleo(self.koleo, &mut ranges, scope);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        super::infer(given, AGAINST)
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        super::cost(14.0 + 4.0 * self.iterations as f64, 1.0, self.koleo, scope, given)
    }
}

/// The running measure.
pub struct Swapped<D: Device> {
    stage: SwappedPrediction,
    device: D,
}

impl<D: Device> Swapped<D> {
    pub fn new(stage: &SwappedPrediction, device: &D) -> Self {
        Swapped { stage: stage.clone(), device: device.clone() }
    }
}

impl<D: Kernels> Swapped<D> {
    /// The codes of the global views (G, B, K), each view's by itself.
    fn codes(&self, pairs: Pairs, logits: &Batched<D>) -> Result<Batched<D>, D::Err> {
        let Pairs { globals, batch, k, .. } = pairs;
        let mut codes = Batched::empty(&self.device, vec![globals, batch, k], logits.batch)?;
        let mut entropy = Batched::empty(&self.device, vec![globals * batch], None)?;
        let (rounds, epsilon) = (self.stage.iterations, self.stage.epsilon as f32);
        let (to, of_rows) = (codes.view_mut(), entropy.view_mut());
        self.device.sinkhorn(globals, batch, k, rounds, epsilon, logits.view(), to, of_rows)?;
        Ok(codes)
    }
}

impl<D: Kernels> Measure<D> for Swapped<D> {
    fn measure(
        &mut self,
        _: &Moment,
        pairs: Pairs,
        inputs: &Inputs<'_, D>,
    ) -> Result<Measured<D>, StageError> {
        let logits = inputs.tensor(LOGITS)?;
        let codes = self.codes(pairs, logits).map_err(failed)?;
        let mut gradient = Batched::empty(&self.device, logits.dims.clone(), logits.batch).map_err(failed)?;
        let loss = self.device.cross_entropy(
            pairs.globals,
            pairs.views,
            pairs.batch,
            pairs.k,
            logits.view(),
            codes.view(),
            self.stage.temperature as f32,
            pairs.weight,
            gradient.view_mut(),
        );
        Ok((loss.map_err(failed)?, gradient))
    }
}
