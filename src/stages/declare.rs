//! What a stage says of itself before anything runs: role, ports, rate, types out for types in, cost.

use crate::graph::spec::GraphSpec;
use crate::optim::schedule::{Horizon, LrCourse, Schedule, Span};

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
    /// An input that no file wires: the plan leads gradients to it.
    pub mirrored: bool,
    /// One line for `dinoflow stages`.
    pub about: &'static str,
}

impl Port {
    pub const fn new(name: &'static str, about: &'static str) -> Self {
        Port { name, optional: false, feedback: false, differentiable: false, mirrored: false, about }
    }
    pub const fn optional(self) -> Self {
        Port { optional: true, ..self }
    }
    pub const fn feedback(self) -> Self {
        Port { feedback: true, ..self }
    }
    pub const fn mirrored(self) -> Self {
        Port { mirrored: true, ..self }
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

impl Scope<'_> {
    /// Micro-batches in a step.
    pub fn micros(&self) -> f64 {
        self.global_batch as f64 / self.micro_batch.max(1) as f64
    }

    /// The run's lengths, where they are known.
    pub fn horizon(&self) -> Option<Horizon> {
        let steps = |per_epoch| Horizon { steps_per_epoch: per_epoch, total_steps: 0 };
        match (self.graph.duration, self.steps_per_epoch) {
            (duration, Some(per_epoch)) => {
                Some(Horizon { total_steps: duration.steps(steps(per_epoch)), ..steps(per_epoch) })
            }
            (_, None) => None,
        }
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

    /// The type at an input without which nothing follows. No problem of its own where it is missing: the wire is.
    pub fn need(&self, port: &str) -> Result<&'a EdgeType, Vec<Problem>> {
        self.get(port).ok_or_else(Vec::new)
    }

    /// The type at this input is not the expected one.
    pub fn mismatch(&self, port: &str, expected: &str) -> Vec<Problem> {
        let found = self.get(port).map_or_else(|| "nothing".into(), EdgeType::to_string);
        vec![Problem { at: Fault::Input(port.into()), found, expected: expected.into(), help: None }]
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

impl Problem {
    /// A problem with a parameter, unless it is good.
    pub fn unless(good: bool, key: &str, found: impl std::fmt::Display, expected: &str) -> Option<Problem> {
        (!good).then(|| Problem {
            at: Fault::Parameter(key.into()),
            found: found.to_string(),
            expected: expected.into(),
            help: None,
        })
    }

    /// A length that is negative, no number, a share outside 0..1, or longer than the run.
    pub fn of_span(key: &str, span: Span, scope: &Scope) -> Vec<Problem> {
        let good = match span {
            Span::Epochs(epochs) => epochs.is_finite() && epochs >= 0.0,
            Span::Steps(_) => true,
            Span::Fraction(part) => (0.0..=1.0).contains(&part),
        };
        let expected = "Epochs or Steps of at least 0, or a Fraction from 0 to 1";
        let _ = scope;
        Problem::unless(good, key, format!("{span:?}"), expected).into_iter().collect()
    }

    /// A schedule with values out of range or an impossible length.
    pub fn of_schedule(
        key: &str,
        schedule: &Schedule,
        scope: &Scope,
        good: impl Fn(f64) -> bool,
        range: &str,
    ) -> Vec<Problem> {
        let (values, over) = match *schedule {
            Schedule::Constant(value) => (vec![value], None),
            Schedule::Linear { from, to, over, .. } => (vec![from, to], Some(over)),
            Schedule::Cosine { from, to } => (vec![from, to], None),
        };
        let bad = values.into_iter().find(|v| !(v.is_finite() && good(*v)));
        let mut problems: Vec<_> = bad
            .and_then(|v| Problem::unless(false, key, v, &format!("values {range}")))
            .into_iter()
            .collect();
        problems.extend(over.into_iter().flat_map(|over| Problem::of_span(key, over, scope)));
        problems
    }

    /// A course of the learning rate with a warm-up that does not fit into the run.
    pub fn of_course(key: &str, course: &LrCourse, scope: &Scope) -> Vec<Problem> {
        let (warmup, end) = match *course {
            LrCourse::Constant => return Vec::new(),
            LrCourse::Linear { warmup, end } | LrCourse::Cosine { warmup, end } => (warmup, end),
        };
        let mut problems = Problem::of_span(key, warmup, scope);
        problems.extend(Problem::unless(end.is_finite() && end >= 0.0, key, end, "an end of at least 0"));
        if let Some(horizon) = scope.horizon().filter(|h| warmup.steps(*h) > h.total_steps) {
            let (long, run) = (warmup.steps(horizon), horizon.total_steps);
            problems.push(Problem {
                at: Fault::Parameter(key.into()),
                found: format!("a warm-up of {long} steps"),
                expected: format!("at most the run's {run} steps"),
                help: Some("shorten the warm-up, or write it as a Fraction of the run".into()),
            });
        }
        problems
    }
}

impl EdgeType {
    /// How many numbers a value of this type holds; 0 where that is not known beforehand.
    pub fn numbers(&self) -> f64 {
        match self {
            EdgeType::Tensor { dims, .. } => dims.iter().map(|&d| d as f64).product(),
            EdgeType::Crops { global, global_size, local, local_size } => {
                3.0 * (global * global_size * global_size + local * local_size * local_size) as f64
            }
            _ => 0.0,
        }
    }

    /// Bytes of a value of this type: tensors are 32-bit, crops 8-bit.
    pub fn bytes(&self) -> f64 {
        self.numbers() * if matches!(self, EdgeType::Tensor { .. }) { 4.0 } else { 1.0 }
    }
}

impl std::fmt::Display for EdgeType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EdgeType::Bytes => f.write_str("encoded picture"),
            EdgeType::Image => f.write_str("picture, u8"),
            EdgeType::Crops { global, global_size, local, local_size } => {
                write!(f, "{global} × {global_size}² + {local} × {local_size}² crops, u8")
            }
            EdgeType::Tensor { dims, .. } if dims.is_empty() => f.write_str("scalar, f32"),
            EdgeType::Tensor { dims, .. } => {
                let dims: Vec<_> = dims.iter().map(usize::to_string).collect();
                write!(f, "({}), f32", dims.join(", "))
            }
            EdgeType::Weights => f.write_str("weights"),
            EdgeType::Gradients => f.write_str("gradients"),
        }
    }
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
    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let _ = (scope, given);
        Cost::default()
    }
    /// Images that the source holds, where the parameters state it.
    fn images(&self) -> Option<usize> {
        None
    }
    /// Threads that share a sample-rate stage.
    fn workers(&self) -> usize {
        1
    }
}
