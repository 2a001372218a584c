//! What runs: a stage on the thread that owns it, and the values it is handed.

use std::collections::BTreeMap;

use super::later::Later;
use crate::data::augment::{Crops, Cuts};
use crate::data::rgb::Rgb8;
use crate::data::source::Raw;
use crate::nn::network::Lent;
use crate::nn::predictor::Predictor;
use crate::optim::schedule::Horizon;
use crate::report::pictures::Drawn;
use crate::tensor::{Batched, Crossing, Device};

/// When a stage fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Optimizer updates before this one.
    pub step: u64,
    /// Which firing of the step, and of how many: the micro-batch at micro-batch rate, the picture's place in the batch
    /// at sample rate, 0 of 1 at step rate and at the barrier.
    pub micro: usize,
    /// Firings of this rate in a step.
    pub micros: usize,
    /// The run's lengths, against which schedules are read.
    pub horizon: Horizon,
}

impl Moment {
    /// Passes over the source that are complete.
    pub fn epoch(&self) -> u64 {
        self.step / self.horizon.steps_per_epoch.max(1)
    }
}

/// A picture's place in the run: which picture, in which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Position in the whole run: step × global_batch + place in the batch.
    pub sequence: u64,
    /// The pass over the source that it belongs to.
    pub epoch: u64,
    /// Index in the source.
    pub index: usize,
}

/// What travels on an edge.
#[derive(Clone)]
pub enum Value<D: Device> {
    /// A picture to decode.
    Raw(Sample, std::sync::Arc<Raw>),
    /// A decoded picture.
    Image(Sample, std::sync::Arc<Rgb8>),
    /// The crops of one picture.
    Crops(Sample, std::sync::Arc<Crops>),
    /// A picture whose crops are drawn, and will be made on the device.
    Cuts(Sample, std::sync::Arc<Cuts>),
    /// Numbers on the device, with the axis that counts images.
    Tensor(Batched<D>),
    /// A tensor that a host stage leaves to the island to make, when it comes there.
    Later(Later<D>),
    /// A network's weights, lent for the step.
    Weights(Lent<D>),
    /// A predictor's weights, lent for the step.
    Predictor(std::sync::Arc<Crossing<Predictor<D>>>),
    /// The gradients of a network's parameters, in the order in which the network visits them.
    Gradients(std::sync::Arc<crate::nn::network::Gradients<D>>),
    /// What a stage at micro-batch rate gets from one at sample rate: the micro-batch's values in the sampler's order.
    Gathered(Vec<Value<D>>),
}

impl<D: Device> Value<D> {
    /// What this is, in words for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Raw(..) => "a picture's bytes",
            Value::Image(..) => "a decoded picture",
            Value::Crops(..) => "a picture's crops",
            Value::Cuts(..) => "a picture whose crops are drawn",
            Value::Tensor(_) => "a tensor",
            Value::Later(_) => "a tensor that is not made yet",
            Value::Weights(_) => "weights",
            Value::Predictor(_) => "a predictor's weights",
            Value::Gradients(_) => "gradients",
            Value::Gathered(_) => "gathered values",
        }
    }
}

/// A line of `metrics.jsonl` that a stage writes at the barrier, `event` and `step` left to the recorder.
pub struct Event {
    /// The word after `"event":`.
    pub name: &'static str,
    /// The keys in their order; numbers that are none become null.
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// A picture that is kept beside the record.
    pub picture: Option<Drawn>,
}

/// The state of a stage by name, as a checkpoint keeps it: raw bytes with shape and type.
pub type State = BTreeMap<String, SavedTensor>;

/// One tensor of a saved state.
#[derive(Clone, Debug, PartialEq)]
pub enum SavedTensor {
    F32 { dims: Vec<usize>, values: Vec<f32> },
    U64 { dims: Vec<usize>, values: Vec<u64> },
}

/// What a stage is handed when it fires: a value for each input port, in the order of its ports.
pub struct Inputs<'a, D: Device> {
    pub values: &'a [Option<Value<D>>],
}

impl<D: Device> Inputs<'_, D> {
    /// The tensor at an input port.
    pub fn tensor(&self, port: usize) -> Result<&Batched<D>, StageError> {
        self.maybe_tensor(port)?.ok_or_else(|| StageError::Bug(format!("input {port} got nothing")))
    }

    /// The tensor at an input port that may be unwired.
    pub fn maybe_tensor(&self, port: usize) -> Result<Option<&Batched<D>>, StageError> {
        match self.values.get(port) {
            Some(Some(Value::Tensor(tensor))) => Ok(Some(tensor)),
            Some(Some(other)) => {
                Err(StageError::Bug(format!("input {port} wants a tensor, got {}", other.kind())))
            }
            Some(None) | None => Ok(None),
        }
    }

    /// The weights lent at an input port.
    pub fn weights(&self, port: usize) -> Result<&Lent<D>, StageError> {
        match self.values.get(port) {
            Some(Some(Value::Weights(weights))) => Ok(weights),
            _ => Err(StageError::Bug(format!("input {port} wants weights"))),
        }
    }
}

impl<D: Device> Inputs<'_, D> {
    /// The predictor's weights lent at an input port.
    pub fn predictor_weights(
        &self,
        port: usize,
    ) -> Result<&std::sync::Arc<Crossing<Predictor<D>>>, StageError> {
        match self.values.get(port) {
            Some(Some(Value::Predictor(weights))) => Ok(weights),
            _ => Err(StageError::Bug(format!("input {port} wants a predictor's weights"))),
        }
    }
}

impl<D: Device> Outputs<'_, D> {
    /// Whether something is wired to an output port.
    pub fn wants(&self, port: usize) -> bool {
        self.wanted.get(port).copied().unwrap_or(false)
    }
}

/// What a stage gives back.
pub struct Outputs<'a, D: Device> {
    /// A place for each output port, in the order of its ports.
    pub values: &'a mut [Option<Value<D>>],
    /// Whether something is wired to each output port.
    pub wanted: &'a [bool],
    /// Numbers for the step's record; those of micro-batches are summed.
    pub metrics: &'a mut Vec<(&'static str, f64)>,
    /// Lines of the run's record, for stages at the barrier.
    pub events: &'a mut Vec<Event>,
}

/// A stage on the thread that owns it. It is built there and never leaves.
///
/// A step commits whole or not at all: what a firing computes for the next step stays pending until [`Stage::commit`]. The one
/// exception is the owner of weights, which checks that everything it was given is finite before it touches any.
pub trait Stage<D: Device> {
    /// After the stage was built or restored: the values that feedback wires carry into the next step and that stages at
    /// the barrier see before it, in the order of the output ports.
    fn first(&mut self, outputs: &mut Outputs<'_, D>) -> Result<(), StageError> {
        let _ = outputs;
        Ok(())
    }

    /// Before the stage whose weights this one averages fires: the average, lent for that firing. This stage fires afterwards
    /// as always, and does itself what the other left.
    fn lend_average(&mut self, at: &Moment) -> Option<Average<D>> {
        let _ = at;
        None
    }

    /// Takes back what was lent.
    fn return_average(&mut self, average: Average<D>) {
        let _ = average;
    }

    /// A firing of a stage that owns weights, with an average of them at hand. It may move it along, with the bits that the
    /// average's own stage would give it.
    fn fire_beside(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
        average: &mut Average<D>,
    ) -> Result<(), StageError> {
        let _ = average;
        self.fire(at, inputs, outputs)
    }

    /// One firing: a value for every wired input, a value for every wanted output.
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError>;

    /// The backward firing of a trained node. `inputs` are the gradients that arrive at its output ports (in their order), `outputs` the
    /// gradients of its differentiable inputs (at those ports' indices).
    fn backward(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let _ = (at, inputs, outputs);
        Err(StageError::Bug("this stage has no backward half".into()))
    }

    /// At the step's end, when every stage has fired without an error: what was pending becomes state. Must not fail.
    fn commit(&mut self, at: &Moment) {
        let _ = at;
    }

    /// Everything that a resumed run needs to go on bit for bit.
    ///
    /// What stands under `weights/<published key>` goes into the checkpoint's `student` or `teacher` file under its published key,
    /// by the role of the stage or of the stage that its weights are lent to.
    fn save(&self) -> Result<State, StageError> {
        Ok(State::new())
    }

    /// Takes back what [`Stage::save`] gave.
    fn restore(&mut self, state: State) -> Result<(), StageError> {
        let _ = state;
        Ok(())
    }
}

/// An average of weights, lent by the stage that owns it to the one that updates those weights, which moves it along in the
/// same pass over memory.
pub struct Average<D: Device> {
    pub weights: Lent<D>,
    /// How much of itself the average keeps.
    pub momentum: f64,
    /// Whether it was moved.
    pub moved: bool,
}

/// Why a stage could not fire.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A number that is no number: training stops with status 3 and all state as before the step.
    #[error("{what} is not finite")]
    NonFinite { what: String },
    /// The data is not there or can't be used: status 2.
    #[error("{0}")]
    Data(String),
    /// The device failed (out of memory).
    #[error("the device failed: {0}")]
    Device(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File { path: std::path::PathBuf, source: std::io::Error },
    /// A saved state that does not fit the stage.
    #[error("the saved state does not fit: {0}")]
    Restore(String),
    /// A mistake in dinoflow or in a custom stage.
    #[error("internal error: {0}")]
    Bug(String),
}
