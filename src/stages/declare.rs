//! What a stage says of itself before anything runs: role, ports, rate, types out for types in, cost.

use crate::graph::spec::GraphSpec;

/// The part a stage plays; a swap stays within a role, and a role's variants have the same ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Source,
    Decode,
    MultiCrop,
    Collate,
    Student,
    Teacher,
    Predictor,
    Center,
    Loss,
    Optimizer,
    Ema,
    Knn,
    Checkpoint,
    /// A role that a user's crate brings.
    Other(String),
}

/// How often a stage fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Once for every picture, on host threads.
    Sample,
    /// Once for every micro-batch.
    Micro,
    /// Once for every update, with the whole batch in sight.
    Step,
    /// Between steps, when everything of the last one is committed (and before the first).
    Barrier,
}

/// One named place where a wire can end or start.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    pub name: &'static str,
    /// An input that may stay unwired, or an output that is computed only when something is wired to it.
    pub optional: bool,
    /// An input that takes the previous step's value (weights).
    pub feedback: bool,
    /// An input through which a gradient flows back: the plan mirrors its wire.
    pub differentiable: bool,
    /// One line for `dinoflow stages`.
    pub about: &'static str,
}

impl Port {
    pub const fn new(name: &'static str, about: &'static str) -> Self {
        Port { name, optional: false, feedback: false, differentiable: false, about }
    }
    pub const fn optional(self) -> Self {
        Port { optional: true, ..self }
    }
    pub const fn feedback(self) -> Self {
        Port { feedback: true, ..self }
    }
    pub const fn differentiable(self) -> Self {
        Port { differentiable: true, ..self }
    }
}

/// A stage's ports; their order is the order of its inputs and outputs everywhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ports {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// How many images a tensor on an edge spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// One micro-batch.
    Micro,
    /// The whole batch.
    Whole,
}

/// The type of the value on an edge.
#[derive(Clone, Debug, PartialEq)]
pub enum EdgeType {
    /// Which picture comes next, and its bytes (or its pixels, if it is drawn).
    Bytes,
    /// A decoded 8-bit RGB picture.
    Image,
    /// One picture's crops, 8-bit: number and side of the global and the local ones.
    Crops { global: usize, global_size: usize, local: usize, local_size: usize },
    /// Numbers on the island's device, row-major. `batch` says which axis counts images and how many it holds; none for a
    /// value without one.
    Tensor { dims: Vec<usize>, batch: Option<(usize, Batch)> },
    /// A network's weights, lent for the step.
    Weights,
    /// The gradients of a network's weights.
    Gradients,
}

/// What a stage may ask about the graph around it.
pub struct Scope<'a> {
    pub graph: &'a GraphSpec,
    /// Images in the whole batch and in a micro-batch.
    pub global_batch: usize,
    pub micro_batch: usize,
    /// Updates in an epoch, where the source states its size.
    pub steps_per_epoch: Option<u64>,
}

/// The types that arrive at a stage, by input port; `None` where nothing is wired or the producer's is not known.
pub type Given<'a> = [(&'static str, Option<&'a EdgeType>)];

/// Something wrong with a stage's parameters or the types it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The parameter (dotted) or input port at fault.
    pub at: Fault,
    /// What stood there.
    pub found: String,
    /// What was expected.
    pub expected: String,
    /// What to do next.
    pub help: Option<String>,
}

/// Where in a stage a [`Problem`] lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A parameter, dotted: `"views.local.size"`.
    Parameter(String),
    /// An input port.
    Input(&'static str),
    /// A key of the graph outside the node, dotted: `"micro_batch"`.
    Graph(String),
}

/// What one firing of a stage costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Trained or averaged numbers that the stage's network holds.
    pub parameters: u64,
    /// Floating-point operations a step (a multiply-add is two).
    pub flops: f64,
    /// Bytes held at the peak by this stage alone: state, activations for backward, outputs.
    pub bytes: f64,
}

/// What a stage declares. Nothing here touches a tensor, a device or a file.
pub trait Declare {
    fn role(&self) -> Role;
    fn rate(&self) -> Rate;
    fn ports(&self) -> Ports;
    /// Parameters out of range, NaN, impossible together or with the graph's own keys.
    fn problems(&self, scope: &Scope) -> Vec<Problem>;
    /// The types of the outputs, in the order of `ports().outputs`, for the types of the inputs.
    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>>;
    /// Forward work a step; backward's where the stage is trained.
    fn cost(&self, scope: &Scope, given: &Given) -> Cost;
    /// Images that the source holds, where the parameters state it.
    fn images(&self) -> Option<usize> {
        None
    }
    /// Threads that share a sample-rate stage.
    fn workers(&self) -> usize {
        1
    }
}
