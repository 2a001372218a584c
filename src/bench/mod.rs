//! `dinoflow bench`: what a graph's steps cost on this machine, by the runtime and the stages that a run has.
//!
//! Stages are launched as for a run, and each step is timed; what looks on between steps (evaluations, checkpoints) stays idle, and
//! nothing is written. [`steps`] times whole steps, or some of the island's stages alone; [`mod@line`] some of the host's. [`tally`]
//! sums what the trace saw of each stage, and [`report`] says it in print and as JSON.

pub mod line;
pub mod memory;
pub mod replay;
pub mod report;
pub mod steps;
pub mod table;
pub mod tally;

use std::time::Instant;

use crate::graph::problem::nearest;
use crate::kernels::Kernels;
use crate::kernels::cpu::peak;
use crate::kernels::{KernelTime, Products};
use crate::plan::{NodeId, Place, Plan};
use crate::runtime::build::{Build, Workshop};
use crate::runtime::execute::Parts;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError};
use crate::runtime::trace::Span;
use crate::runtime::watch::Watch;
use crate::runtime::{Interrupt, RunError, open};
use crate::stages::registry::{Registered, Registry};
use crate::stages::{Rate, Role};
use crate::tensor::allocator::Allocated;
use crate::tensor::{Crossing, retain_freed_memory};

pub use report::Report;

/// What is to be timed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Steps that are timed.
    pub steps: u64,
    /// Steps before them that are not.
    pub warmup: u64,
    /// Nodes that are timed alone; whole steps where there are none.
    pub stages: Vec<String>,
    /// Makes the crops of the first step once and feeds them again.
    pub no_data: bool,
    /// Of the kernels (one a core where none is given), or of host stages alone (one).
    pub threads: Option<usize>,
    /// Each stage in a pass over memory of its own.
    pub no_fuse: bool,
    /// Times the kernels of one step more, where the graph runs on a GPU.
    pub kernels: bool,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            steps: 10,
            warmup: 4,
            stages: Vec::new(),
            no_data: false,
            threads: None,
            no_fuse: false,
            kernels: false,
        }
    }
}

/// One step's time.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub start: Instant,
    pub end: Instant,
    /// In which the island waited for pictures, in seconds.
    pub waited: f64,
    /// In which the island's threads were at matrix products, in seconds: the mean of theirs.
    pub products: f64,
    /// By the whole process.
    pub allocated: Allocated,
}

/// GFLOP/s of the machine's multiply-adders on the threads in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    pub f32: f64,
    /// Where the processor has such products.
    pub bf16: Option<f64>,
}

impl Peaks {
    /// Measures both on a device, or on the current pool's threads: about half a second each.
    pub fn measure<D: Kernels>(device: &D) -> Self {
        match device.matrix_peak(Products::F32) {
            Some(f32) => Peaks { f32, bf16: device.matrix_peak(Products::Bf16) },
            None => Peaks { f32: peak::f32_gflops(), bf16: peak::bf16_gflops() },
        }
    }

    /// The larger of each.
    pub fn or_better(self, other: Peaks) -> Self {
        let bf16 = self.bf16.zip(other.bf16).map(|(a, b)| a.max(b));
        Peaks { f32: self.f32.max(other.f32), bf16 }
    }
}

/// What was seen while the steps were timed.
pub struct Measured {
    pub timings: Vec<Timing>,
    /// Of the timed steps, each with its step's index in `timings`.
    pub spans: Vec<(usize, Span)>,
    /// Stages whose work is done in another's pass over memory, after that other.
    pub fused: Vec<(NodeId, NodeId)>,
    pub threads: usize,
    pub peaks: Peaks,
    /// The most memory that the process had while it worked.
    pub peak_memory: Option<u64>,
    /// Of one step more, where they were asked for.
    pub kernels: Vec<KernelTime>,
}

/// Times a plan's steps, or those of its stages that the request names, on a device.
///
/// # Errors
/// [`RunError::Request`] for a stage that the graph has not or that can't be timed so, and when the data is not there or too small
/// for a batch; else the first cause that ended a thread.
pub fn bench<D: Registered>(
    plan: &Plan,
    registry: &Registry,
    device: &D,
    request: &Request,
    interrupt: &Interrupt,
) -> Result<Report, RunError> {
    retain_freed_memory();
    device.allow_tf32(plan.graph.tf32);
    let device = Crossing::of(device);
    let chosen = chosen(plan, &request.stages)?;
    let (pictures, horizon) = open(plan).map_err(|error| advised(plan, error))?;
    let build = Unobserved(Workshop {
        plan,
        device,
        pictures: Some(&pictures),
        registry,
        statistics: Default::default(),
    });
    let parts = Parts { plan, graph: "", horizon, device, build: &build, rejections: &pictures.rejections };
    let on_host = |node: &NodeId| plan.nodes[node.0].place != Place::Island;
    let measured = match chosen.iter().filter(|node| on_host(node)).count() {
        0 => steps::time(&parts, request, &chosen, interrupt)?,
        all if all == chosen.len() => line::time(&parts, request, &chosen, interrupt)?,
        _ => {
            let expected =
                "either stages of the host (decode, multi_crop, collate) or of the island, not of both";
            return Err(RunError::Request(format!("--stage: expected {expected}")));
        }
    };
    Ok(Report::of(plan, request, &chosen, &measured))
}

/// The nodes of these names.
fn chosen(plan: &Plan, names: &[String]) -> Result<Vec<NodeId>, RunError> {
    let fires = |role: &Role, rate| rate != Rate::Barrier && *role != Role::Source;
    let known = plan.nodes.iter().filter(|node| fires(&node.role, node.rate)).map(|node| node.name.as_str());
    let node = |name: &String| {
        let found = plan.nodes.iter().position(|node| node.name == *name && fires(&node.role, node.rate));
        found.map(NodeId).ok_or_else(|| {
            let near = nearest(name, known.clone()).map(|near| format!("; did you mean `{near}`?"));
            let all: Vec<&str> = known.clone().collect();
            let expected = format!("expected nodes of the graph that work in a step: {}", all.join(", "));
            RunError::Request(format!("--stage {name}: {expected}{}", near.unwrap_or_default()))
        })
    };
    let mut nodes: Vec<NodeId> = names.iter().map(node).collect::<Result<_, _>>()?;
    nodes.sort();
    nodes.dedup();
    Ok(nodes)
}

/// Says what to do about pictures that are not there.
fn advised(plan: &Plan, error: RunError) -> RunError {
    let source = plan.nodes.iter().find(|node| node.role == Role::Source);
    match (error, source) {
        (RunError::Request(text), Some(source)) => RunError::Request(format!(
            "{text}\nA benchmark can draw its pictures: --swap '{}=Synthetic(count: {}, size: 256)'",
            source.name,
            plan.batch.global.max(64)
        )),
        (error, _) => error,
    }
}

/// Builds a run's stages but those that look on between steps: they would open data that no step needs.
struct Unobserved<'a, D: Kernels>(Workshop<'a, D>);

impl<D: Registered> Build<D> for Unobserved<'_, D> {
    fn build(&self, node: NodeId) -> Result<Box<dyn Stage<D>>, StageError> {
        match self.0.plan.nodes[node.0].rate {
            Rate::Barrier => Ok(Box::new(Idle)),
            _ => self.0.build(node),
        }
    }

    fn watch(&self) -> Option<Box<dyn Watch<D>>> {
        self.0.watch()
    }
}

/// In the place of a stage that never fires.
struct Idle;

impl<D: Kernels> Stage<D> for Idle {
    fn fire(&mut self, _: &Moment, _: &mut Inputs<'_, D>, _: &mut Outputs<'_, D>) -> Result<(), StageError> {
        Ok(())
    }
}
