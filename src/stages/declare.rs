//! What a stage says of itself before anything runs: role, ports, rate, types out for types in, cost.

use std::fmt;

pub use crate::graph::problem::Severity;
use crate::graph::spec::GraphSpec;

/// The part a stage plays; a swap stays within a role, and a role's variants have the same ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Says which picture comes next, and holds its bytes.
    Source,
    /// Bytes to 8-bit RGB.
    Decode,
    /// A picture to its global and local crops.
    MultiCrop,
    /// The crops of a batch to tensors.
    Collate,
    /// The network that is trained, on every crop.
    Student,
    /// The network that the student follows, on the global crops.
    Teacher,
    /// A network between student and loss, trained with the student and not followed by the teacher.
    Predictor,
    /// The teacher's logits to the student's targets.
    Center,
    /// The student's logits and their targets to a number, and to the gradient of the logits.
    Loss,
    /// Owns the student's weights and updates them.
    Optimizer,
    /// Owns the teacher's weights: a moving average of the student's.
    Ema,
    /// Evaluates both networks between steps.
    Knn,
    /// Says when checkpoints are written.
    Checkpoint,
    /// A role that a user's crate brings.
    Other(String),
}

impl Role {
    /// The word for it: a preset's folder, and a node's name as a rule.
    pub fn word(&self) -> &str {
        match self {
            Role::Source => "source",
            Role::Decode => "decode",
            Role::MultiCrop => "multi_crop",
            Role::Collate => "collate",
            Role::Student => "student",
            Role::Teacher => "teacher",
            Role::Predictor => "predictor",
            Role::Center => "center",
            Role::Loss => "loss",
            Role::Optimizer => "optimizer",
            Role::Ema => "ema",
            Role::Knn => "knn",
            Role::Checkpoint => "checkpoint",
            Role::Other(word) => word,
        }
    }

    /// The role of this word, if it is one of dinoflow's own.
    pub fn of(word: &str) -> Option<Role> {
        const OWN: [Role; 13] = [
            Role::Source,
            Role::Decode,
            Role::MultiCrop,
            Role::Collate,
            Role::Student,
            Role::Teacher,
            Role::Predictor,
            Role::Center,
            Role::Loss,
            Role::Optimizer,
            Role::Ema,
            Role::Knn,
            Role::Checkpoint,
        ];
        OWN.into_iter().find(|role| role.word() == word)
    }
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
    /// The word in wires: `"producer/name"`.
    pub name: &'static str,
    /// An input that may stay unwired, or an output that is computed only when something is wired to it.
    pub optional: bool,
    /// An input that takes the previous step's value (weights).
    pub feedback: bool,
    /// An input through which a gradient flows back: the plan mirrors its wire.
    pub differentiable: bool,
    /// An input that no file wires: the plan does (the gradients of what an optimizer trains).
    pub mirrored: bool,
    /// One line for `dinoflow stages`.
    pub about: &'static str,
}

impl Port {
    /// A port that must be wired and carries this step's value.
    pub const fn new(name: &'static str, about: &'static str) -> Self {
        Port { name, optional: false, feedback: false, differentiable: false, mirrored: false, about }
    }
    /// An input that may stay unwired, or an output that is computed only when something is wired to it.
    pub const fn optional(self) -> Self {
        Port { optional: true, ..self }
    }
    /// An input of the previous step's value.
    pub const fn feedback(self) -> Self {
        Port { feedback: true, ..self }
    }
    /// An input through which a gradient flows back.
    pub const fn differentiable(self) -> Self {
        Port { differentiable: true, ..self }
    }
    /// An input that the plan wires, not the file.
    pub const fn mirrored(self) -> Self {
        Port { mirrored: true, ..self }
    }
}

/// What a stage makes of an input that its role has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// What its port says: needed unless it is optional.
    AsDeclared,
    /// Needed, although the role's variants may do without.
    Needed,
    /// Of no use: a wire there counts for nothing, and costs nothing.
    Ignored,
}

/// A stage's ports; their order is the order of its inputs and outputs everywhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ports {
    /// Where wires end.
    pub inputs: Vec<Port>,
    /// Where wires start.
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
    /// A predictor's weights, lent for the step.
    PredictorWeights,
    /// The gradients of a network's weights.
    Gradients,
}

impl EdgeType {
    /// Whether it is lent by its owner, who updates it in place.
    pub fn lent(&self) -> bool {
        matches!(self, EdgeType::Weights | EdgeType::PredictorWeights)
    }

    /// Bytes of one value: tensors are 32-bit, crops 8-bit; 0 where that depends on the data.
    pub fn bytes(&self) -> f64 {
        match self {
            EdgeType::Tensor { dims, .. } => 4.0 * dims.iter().map(|&dim| dim as f64).product::<f64>(),
            EdgeType::Crops { global, global_size, local, local_size } => {
                3.0 * (global * global_size * global_size + local * local_size * local_size) as f64
            }
            EdgeType::Bytes
            | EdgeType::Image
            | EdgeType::Weights
            | EdgeType::PredictorWeights
            | EdgeType::Gradients => 0.0,
        }
    }
}

impl fmt::Display for EdgeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EdgeType::Bytes => write!(f, "bytes"),
            EdgeType::Image => write!(f, "image"),
            EdgeType::Crops { global, global_size, local: 0, .. } => {
                write!(f, "{global} crops of {global_size}²")
            }
            EdgeType::Crops { global, global_size, local, local_size } => {
                write!(f, "{global} crops of {global_size}², {local} of {local_size}²")
            }
            EdgeType::Tensor { dims, .. } if dims.is_empty() => write!(f, "scalar"),
            EdgeType::Tensor { dims, .. } => write!(f, "{}", shape(dims)),
            EdgeType::Weights => write!(f, "weights"),
            EdgeType::PredictorWeights => write!(f, "predictor's weights"),
            EdgeType::Gradients => write!(f, "gradients"),
        }
    }
}

/// A shape as messages and pictures write it: `(2, 8, 65536)`.
pub fn shape(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    format!("({})", dims.join(", "))
}

/// What a stage may ask about the graph around it.
pub struct Scope<'a> {
    /// The whole graph, resolved.
    pub graph: &'a GraphSpec,
    /// Images in the whole batch.
    pub global_batch: usize,
    /// Images in a micro-batch; it divides the whole batch.
    pub micro_batch: usize,
    /// Updates in an epoch, where the source states its size.
    pub steps_per_epoch: Option<u64>,
}

impl Scope<'_> {
    /// Micro-batches in a step.
    pub fn micros(&self) -> f64 {
        self.global_batch as f64 / self.micro_batch.max(1) as f64
    }
}

/// The types that arrive at a stage, by input port; `None` where nothing is wired or the producer's is not known.
#[derive(Clone, Debug, Default)]
pub struct Given<'a>(pub Vec<(&'static str, Option<&'a EdgeType>)>);

impl<'a> Given<'a> {
    /// The type at an input.
    pub fn get(&self, port: &str) -> Option<&'a EdgeType> {
        self.0.iter().find(|(name, _)| *name == port).and_then(|(_, ty)| *ty)
    }
}

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
    /// An error, which forbids a run, or a note, which does not.
    pub severity: Severity,
    /// Other values that it was judged by: while one of them can't be read, nothing is said.
    pub by: Vec<Fault>,
}

impl Problem {
    /// Something wrong with a parameter, by its dotted name.
    pub fn parameter(name: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Problem::new(Fault::Parameter(name.into()), expected.into(), found.into())
    }

    /// Something wrong with what arrives at an input port.
    pub fn input(port: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Problem::new(Fault::Input(port.into()), expected.into(), found.into())
    }

    /// Something wrong with a key of the graph that this stage needs otherwise, by its dotted name.
    pub fn graph(key: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Problem::new(Fault::Graph(key.into()), expected.into(), found.into())
    }

    fn new(at: Fault, expected: String, found: String) -> Self {
        Problem { at, found, expected, help: None, severity: Severity::Error, by: Vec::new() }
    }

    /// Adds another value that it was judged by, lest a wrong one is held against a right one.
    pub fn by(mut self, other: Fault) -> Self {
        self.by.push(other);
        self
    }

    /// Says what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Makes it a note: the graph runs, but perhaps not as meant.
    pub fn note(mut self) -> Self {
        self.severity = Severity::Note;
        self
    }
}

/// Where in a stage a [`Problem`] lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A parameter, dotted: `"views.local.size"`.
    Parameter(String),
    /// An input port.
    Input(String),
    /// A key of the graph outside the node, dotted: `"micro_batch"`.
    Graph(String),
}

/// What one firing of a stage costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Trained or averaged numbers that the stage's network holds.
    pub parameters: u64,
    /// Floating-point operations that a step does (a multiply-add is two); their expected number where draws decide.
    pub flops: f64,
    /// Bytes held at the peak by this stage alone: state, activations for backward, outputs.
    pub bytes: f64,
    /// The part of `bytes` that is held between firings too.
    pub resident: f64,
}

/// What a stage declares. Nothing here touches a tensor, a device or a file.
pub trait Declare {
    /// The part it plays. A stage may take the place of any other of its role.
    fn role(&self) -> Role;
    /// How often it fires.
    fn rate(&self) -> Rate;
    /// Its inputs and outputs; those of a role's stages have the same names.
    fn ports(&self) -> Ports;
    /// Parameters out of range, NaN, impossible together or with the graph's own keys.
    fn problems(&self, scope: &Scope) -> Vec<Problem>;
    /// What it makes of an input, by the port's name: variants of a role have the same inputs, and each needs its own.
    fn uses(&self, input: &str) -> Use {
        let _ = input;
        Use::AsDeclared
    }
    /// The types of the outputs, in the order of `ports().outputs`, for the types of the inputs.
    ///
    /// # Errors
    /// Every input whose type or shape does not fit, with what was expected. What is not wired, or of a type not known, is none of
    /// this stage's business: the check says so elsewhere.
    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>>;
    /// Forward work a step; backward's where the stage is trained.
    fn cost(&self, scope: &Scope, given: &Given) -> Cost;
    /// Images that the source holds, where the parameters state it.
    fn images(&self) -> Option<usize> {
        None
    }
    /// The files and folders that it will read, by parameter.
    fn reads(&self) -> Vec<(String, std::path::PathBuf)> {
        Vec::new()
    }
    /// How many of the run's threads may share a sample-rate stage; none: all of them.
    fn workers(&self) -> Option<usize> {
        Some(1)
    }
    /// Whether it runs on host threads rather than on the island's.
    fn on_host(&self) -> bool {
        self.rate() == Rate::Sample
    }
    /// What the plan prints beside its tables: a word and its value, as the learning rate after scaling.
    fn facts(&self, scope: &Scope) -> Vec<(String, String)> {
        let _ = scope;
        Vec::new()
    }
    /// The nodes whose networks it updates: each gives its gradients to an input port `gradients`, in this order.
    fn trains(&self) -> &[String] {
        &[]
    }
}
