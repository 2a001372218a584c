//! What will run: indices instead of names, a type on every edge, who runs where and in which order.
//!
//! A [`Plan`] names no tensor and no device; building one needs neither data nor a GPU.

pub mod actors;
pub mod build;
pub mod convert;
pub mod cost;
pub mod explain;
pub mod fit;

use std::ops::Range;

use crate::graph::spec::{GraphSpec, Precision};
use crate::kernels::Products;
use crate::stages::{Cost, EdgeType, Port, Rate, Role, Scope, StageSpec};

/// An index into [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// An index into [`Plan::edges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId(pub usize);

/// A checked graph, ready to run and to print.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The resolved graph, as it is written into the run folder.
    pub graph: GraphSpec,
    /// Nodes in the order of the file.
    pub nodes: Vec<PlanNode>,
    /// Wires in the order of the file, then the mirrored gradient wires.
    pub edges: Vec<PlanEdge>,
    /// Host nodes (sample rate), from source to collation, in topological order.
    pub host: Vec<NodeId>,
    /// The accelerator island: a step is its phases in order.
    pub phases: Vec<Phase>,
    /// Nodes that fire between steps, in order: `knn`, `checkpoint`.
    pub barrier: Vec<NodeId>,
    pub batch: BatchPlan,
    /// Updates in an epoch, where the source states its size; else known when the source is opened.
    pub steps_per_epoch: Option<u64>,
    /// Updates in the run, where known.
    pub total_steps: Option<u64>,
    /// Sums over the nodes, and the predicted peak of the process.
    pub cost: StepCost,
}

impl Plan {
    /// The number type, with `Auto` decided.
    pub fn precision(&self) -> Precision {
        self.graph.decided_precision()
    }

    /// The precision of products and activations.
    pub fn products(&self) -> Products {
        self.graph.products()
    }

    /// Views of a picture that the teacher sees too: those of the student's input `global`, where there is a student.
    pub fn global_views(&self) -> Option<usize> {
        let student = self.nodes.iter().find(|node| node.role == Role::Student)?;
        let port = student.inputs.iter().position(|port| port.name == "global")?;
        match &self.edges[student.wired[port]?.0].ty {
            EdgeType::Tensor { dims, .. } => dims.first().copied(),
            _ => None,
        }
    }

    /// What is worth printing beside the tables: words and their values, as the learning rate after scaling.
    pub fn facts(&self) -> Vec<(String, String)> {
        let scope = Scope {
            graph: &self.graph,
            global_batch: self.batch.global,
            micro_batch: self.batch.micro,
            steps_per_epoch: self.steps_per_epoch,
        };
        self.nodes.iter().filter_map(|node| node.stage.built_in()).flat_map(|d| d.facts(&scope)).collect()
    }
}

/// One node of the plan.
#[derive(Clone, Debug)]
pub struct PlanNode {
    pub name: String,
    pub stage: StageSpec,
    pub role: Role,
    pub rate: Rate,
    /// Where it runs.
    pub place: Place,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// For each input port: the edge that ends there.
    pub wired: Vec<Option<EdgeId>>,
    /// For each output port: its type and the edges that start there.
    pub produces: Vec<(EdgeType, Vec<EdgeId>)>,
    /// Split in two actors, forward and backward: a gradient leaves through one of its inputs. So it is with a student,
    /// with a predictor, and with the loss, where gradients start: no gradient arrives at its outputs.
    pub trained: bool,
    /// Reads files as it fires.
    pub reads: bool,
    pub cost: Cost,
}

/// Where a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Beside the island, ahead of it: on as many of the run's threads as are free, at most this many where it says so.
    Host { workers: Option<usize> },
    /// On the island's one thread.
    Island,
}

impl Place {
    /// Firings of the node that may go on at once, in a run on so many threads.
    pub fn workers(self, threads: usize) -> usize {
        match self {
            Place::Host { workers } => workers.map_or(threads, |most| most.min(threads)).max(1),
            Place::Island => 1,
        }
    }
}

/// One end of a wire: a node and the index of its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRef {
    pub node: NodeId,
    pub port: usize,
}

/// One wire.
#[derive(Clone, Debug)]
pub struct PlanEdge {
    /// An output port of the producer. For a gradient wire: the *input* port of the consumer that is differentiable, or
    /// the `weights` input of a trained node, through which the gradients of its weights leave.
    pub from: PortRef,
    /// An input port of the consumer. For a gradient wire: the *output* port whose gradient arrives, or, for
    /// [`EdgeType::Gradients`], an implicit `gradients` *input* of the optimizer.
    pub to: PortRef,
    pub kind: EdgeKind,
    /// As the producer makes it; the consumer sees it after `conversion`.
    pub ty: EdgeType,
    /// What happens to the value where producer and consumer have different rates.
    pub conversion: Conversion,
    /// Bound of the channel behind this edge, where there is one.
    pub capacity: usize,
}

/// When a wire carries a value, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// This step's value.
    Forward,
    /// The previous step's value.
    Feedback,
    /// A gradient, against a forward wire.
    Gradient,
}

/// How a value crosses from one rate to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Same rate.
    None,
    /// Micro to step: micro-batches joined along this axis, in their order.
    Concat { axis: usize },
    /// Micro to step: summed in the order of the micro-batches.
    Sum,
    /// Step to micro: each micro-batch gets its part of this axis.
    Slice { axis: usize },
    /// Step to micro: the same value for each.
    Hold,
}

/// One stretch of a step: actors that fire once, or all of them in turn for each micro-batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub rate: Rate,
    pub actors: Vec<Actor>,
}

/// One firing of a node within a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    pub node: NodeId,
    pub direction: Direction,
}

/// Which half of a trained node fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Forward,
    Backward,
}

/// How the batch is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlan {
    pub global: usize,
    pub micro: usize,
}

impl BatchPlan {
    /// Micro-batches in a step.
    pub fn micros(self) -> usize {
        self.global / self.micro
    }

    /// The images of micro-batch `index` within the whole batch.
    pub fn range(self, index: usize) -> Range<usize> {
        index * self.micro..(index + 1) * self.micro
    }
}

/// What a step costs in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepCost {
    /// Parameters of the student.
    pub parameters: u64,
    /// Floating-point operations a step.
    pub flops: f64,
    /// Predicted peak memory in bytes: of the process, or of the GPU where the graph runs on one.
    pub peak_bytes: f64,
}
