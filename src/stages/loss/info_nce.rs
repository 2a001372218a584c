//! `loss`: InfoNCE against a queue of past teacher outputs (MoCo: He et al. 2020).
use serde::{Deserialize, Serialize};

use super::queue::Queue;
use super::unit::Unit;
use super::{LOGITS, Measure, Measured, Pairs, TEACHER};
use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::plan::cost::FLOAT;
use crate::runtime::stage::{Inputs, Moment, StageError, State};
use crate::stages::declare::*;
use crate::stages::range::Ranges;
use crate::stages::types::Types;
use crate::tensor::{Batched, Device};

/// Mean over pairs (teacher view i, student view v, v ≠ i) and the batch of -log of the positive's share: e^(s·t/T) over itself and
/// Σ e^(s·n/T), rows of unit length, n those of the queue. The queue starts from random rows; after each step the teacher's rows of
/// all its views take the place of the oldest. Inputs `logits`, `teacher`, and `cls` for KoLeo; output `loss`, in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InfoNce {
    /// T, which products are divided by.
    pub temperature: f64,
    /// Rows in the queue, as wide as the head's output.
    pub queue: usize,
    /// The weight of KoLeo, which is added to the loss.
    pub koleo: f64,
}

impl Default for InfoNce {
    fn default() -> Self {
        InfoNce { temperature: 0.2, queue: 65_536, koleo: 0.0 }
    }
}

/// What the logits are held against.
const AGAINST: Option<&str> = Some("teacher");

/// Rows shorter than this are scaled as if they were so long.
const EPS: f32 = 1e-12;

/// Rows of the student whose products with the queue are held at once, as the kernel has it.
const ROWS: usize = 256;

impl Declare for InfoNce {
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
        ranges.count("queue", self.queue, 1, 1 << 24);
        super::judge_koleo(self.koleo, &mut ranges, scope);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        super::infer(given, AGAINST)
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let mut cost = super::cost(8.0, 2.0, self.koleo, scope, given);
        if let Some(logits) = Types::new(given).tensor("logits", "(views, batch, K)") {
            let (rows, k) = (logits.dims[0] * logits.dims[1], logits.dims[2] as f64);
            let queue = self.queue as f64;
            cost.resident = FLOAT * queue * k;
            cost.bytes += cost.resident + FLOAT * queue * rows.min(ROWS) as f64;
            // each row with the whole queue, there and back
            cost.flops += 4.0 * rows as f64 * queue * k * scope.micros();
        }
        cost
    }
}

/// The running measure, which owns the queue.
pub struct Contrast<D: Device> {
    temperature: f32,
    queue: Queue<D>,
    device: D,
}

impl<D: Device> Contrast<D> {
    /// The queue's first rows follow from `seed`.
    pub fn new(stage: &InfoNce, seed: u64, device: &D) -> Self {
        let queue = Queue::new(stage.queue, seed, device);
        Contrast { temperature: stage.temperature as f32, queue, device: device.clone() }
    }
}

impl<D: Kernels> Measure<D> for Contrast<D> {
    fn measure(
        &mut self,
        at: &Moment,
        pairs: Pairs,
        inputs: &Inputs<'_, D>,
    ) -> Result<Measured<D>, StageError> {
        let student = Unit::of(&self.device, inputs.tensor(LOGITS)?, EPS).map_err(failed)?;
        let teacher = Unit::of(&self.device, inputs.tensor(TEACHER)?, EPS).map_err(failed)?;
        let dims = student.rows.dims.clone();
        let mut gradient = Batched::empty(&self.device, dims, student.rows.batch).map_err(failed)?;
        let queue = self.queue.rows(pairs.k)?;
        let loss = self.device.info_nce(
            pairs.globals,
            pairs.views,
            pairs.batch,
            pairs.k,
            queue.dims[0],
            student.rows.view(),
            teacher.rows.view(),
            queue.view(),
            self.temperature,
            pairs.weight,
            gradient.view_mut(),
        );
        let loss = loss.map_err(failed)?;
        self.queue.await_commit(at.micro == 0, teacher.rows);
        Ok((loss, student.back(&self.device, &gradient).map_err(failed)?))
    }

    fn commit(&mut self) {
        self.queue.commit();
    }

    fn save(&self) -> Result<State, StageError> {
        self.queue.save()
    }

    fn restore(&mut self, state: State) -> Result<(), StageError> {
        self.queue.restore(state)
    }
}
