//! What a stage needs to fire: the edges behind each of its ports.

use super::fault::{Cause, Failure, Fault, guard};
use super::ledger::{Gauge, Meter};
use super::stage::{Moment, StageError};
use super::trace::{Doing, Span, Trace, Track};
use crate::optim::schedule::Horizon;
use crate::plan::{Actor, Direction, EdgeId, EdgeKind, NodeId, Plan};
use crate::stages::{EdgeType, Rate};
use crate::tensor::allocator;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::channel::Stopped;
use super::fault::lock;

/// What all threads of a run share.
pub struct Run<'a> {
    pub plan: &'a Plan,
    pub horizon: Horizon,
    /// The steps to do.
    pub steps: Range<u64>,
    /// Whether an optimizer moves averages of its weights along.
    pub fuse: bool,
    pub fault: Fault,
    pub trace: Trace,
    /// For each node the meters of its forward and its backward half.
    pub meters: Vec<[Meter; 2]>,
    /// The channels, in the order in which they were opened.
    pub gauges: Mutex<Vec<Arc<Gauge>>>,
}

impl<'a> Run<'a> {
    pub fn new(plan: &'a Plan, horizon: Horizon, steps: Range<u64>, traced: bool) -> Self {
        Run {
            plan,
            horizon,
            steps,
            fuse: true,
            fault: Fault::default(),
            trace: Trace::new(traced),
            meters: plan.nodes.iter().map(|_| Default::default()).collect(),
            gauges: Mutex::new(Vec::new()),
        }
    }

    /// Registers a channel for the end-of-run table.
    pub fn gauge(&self, from: &str, to: &str, capacity: usize) -> Arc<Gauge> {
        let gauge = Gauge::new(from, to, capacity);
        lock(&self.gauges).push(gauge.clone());
        gauge
    }

    /// A node's name, or that of its backward half.
    pub fn name(&self, actor: Actor) -> String {
        let name = &self.plan.nodes[actor.node.0].name;
        match actor.direction {
            Direction::Forward => name.clone(),
            Direction::Backward => format!("{name}/backward"),
        }
    }

    /// Does a stage's work: timed, traced, and with whatever goes wrong in it reported as this run's end.
    pub fn fire<T>(
        &self,
        track: &mut Track<'_>,
        actor: Actor,
        at: &Moment,
        work: impl FnOnce() -> Result<T, StageError>,
    ) -> Result<T, Stopped> {
        let (start, before) = (Instant::now(), allocator::here());
        let result = self.guarded(actor, at.step, work);
        let (end, allocated) = (Instant::now(), allocator::here() - before);
        self.meters[actor.node.0][usize::from(actor.direction == Direction::Backward)].add(end - start);
        track.span(|| Span { doing: Doing::Firing(actor), step: at.step, start, end, allocated });
        result
    }

    /// Does work for a stage outside its firings: building, restoring, saving, committing.
    pub fn guarded<T>(
        &self,
        actor: Actor,
        step: u64,
        work: impl FnOnce() -> Result<T, StageError>,
    ) -> Result<T, Stopped> {
        guard(work).map_err(|cause| self.fail(self.name(actor), step, cause))
    }

    /// Ends the run with this cause, unless another came first.
    pub fn fail(&self, node: String, step: u64, cause: impl Into<Cause>) -> Stopped {
        self.fault.raise(Failure { node, step, cause: cause.into() });
        Stopped
    }

    /// Firings of a stage in a step.
    pub fn per_step(&self, rate: Rate) -> usize {
        match rate {
            Rate::Sample => self.plan.batch.global,
            Rate::Micro => self.plan.batch.micros(),
            Rate::Step | Rate::Barrier => 1,
        }
    }

    /// The moment of a stage's firing number `ticket` of the run.
    pub fn moment(&self, rate: Rate, ticket: u64) -> Moment {
        let micros = self.per_step(rate);
        let (step, micro) = (ticket / micros as u64, (ticket % micros as u64) as usize);
        Moment { step, micro, micros, horizon: self.horizon }
    }
}

/// An actor with the edges behind each of its ports.
pub struct Firing {
    pub actor: Actor,
    /// For each value the stage is handed: the edges that end there, in wire order. Only gradients have several.
    pub inputs: Vec<Vec<EdgeId>>,
    /// For each value the stage gives: the edges that start there.
    pub outputs: Vec<Vec<EdgeId>>,
    pub wanted: Vec<bool>,
}

impl Firing {
    pub fn of(plan: &Plan, actor: Actor) -> Self {
        let node = &plan.nodes[actor.node.0];
        let gradient = actor.direction == Direction::Backward;
        let (ins, outs) = match actor.direction {
            Direction::Forward => (node.inputs.len(), node.outputs.len()),
            Direction::Backward => (node.outputs.len(), node.inputs.len()),
        };
        let mut inputs = vec![Vec::new(); ins];
        let mut outputs = vec![Vec::new(); outs];
        for (index, edge) in plan.edges.iter().enumerate() {
            // every gradient leaves a backward half; those of a network's weights arrive at the optimizer's forward half
            let leaves = edge.kind == EdgeKind::Gradient;
            let arrives = leaves && edge.ty != EdgeType::Gradients;
            if edge.to.node == actor.node && arrives == gradient {
                inputs[edge.to.port].push(EdgeId(index));
            }
            if edge.from.node == actor.node && leaves == gradient {
                outputs[edge.from.port].push(EdgeId(index));
            }
        }
        let wanted = outputs.iter().map(|edges| !edges.is_empty()).collect();
        Firing { actor, inputs, outputs, wanted }
    }

    /// The forward half of a node.
    pub fn forward(plan: &Plan, node: NodeId) -> Self {
        Firing::of(plan, Actor { node, direction: Direction::Forward })
    }
}
