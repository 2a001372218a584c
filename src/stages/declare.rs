//! What a stage says of itself before anything runs: role, ports, rate, types out for types in, cost.

mod edge;
mod port;
mod problem;
mod role;

pub use edge::{Batch, EdgeType, shape};
pub use port::{Port, Ports, Use};
pub use problem::{Fault, Problem};
pub use role::Role;

pub use crate::graph::problem::Severity;
use crate::graph::spec::GraphSpec;
use crate::optim::schedule::Span;

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
    /// How often it looks on between steps, where a parameter says so; else it does whenever it can.
    fn every(&self) -> Option<Span> {
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
