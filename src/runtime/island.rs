//! The island: one thread that fires a device's stages in topological order and hands values over in slots.

use std::rc::Rc;
use std::time::Duration;

use super::alone::Kept;
use super::arrivals::feeders;
use super::build::Build;
use super::channel::Stopped;
use super::convert::add;
use super::fault::guard;
use super::firing::{Firing, Run};
use super::host::Feed;
use super::slots::Slot;
use super::stage::{Event, Inputs, Moment, Outputs, Stage, StageError, Value};
use super::trace::Track;
use super::watch::Watch;
use crate::kernels::Kernels;
use crate::plan::{Actor, Direction, EdgeId, EdgeKind, NodeId, Place};
use crate::report::pictures::Drawn;
use crate::stages::{Rate, Role};

/// The stages of the island and of the barrier, with the wires between them.
pub struct Island<'a, D: Kernels> {
    pub(super) run: &'a Run<'a>,
    pub(super) device: D,
    /// By node; none for host nodes and for `checkpoint`, which the run itself is.
    pub(super) stages: Vec<Option<Box<dyn Stage<D>>>>,
    pub(super) slots: Vec<Slot<D>>,
    pub(super) phases: Rc<Vec<(Rate, Vec<Firing>)>>,
    /// For each node that owns weights, the one that averages them and lends the average while they are updated.
    pub(super) followers: Vec<Option<NodeId>>,
    /// Host nodes that feed the island, with how often each has in this step.
    pub(super) arrivals: Vec<(NodeId, usize)>,
    pub(super) track: Track<'a>,
    /// Looks on, and reports numbers of its own.
    watch: Option<Box<dyn Watch<D>>>,
    /// For stages that are to fire alone.
    pub(super) kept: Option<Kept<D>>,
}

/// What a firing gives at each output, and the numbers it reports.
type Given<D> = (Vec<Option<Value<D>>>, Vec<(&'static str, f64)>);

/// What a step did.
#[derive(Default)]
pub struct Done {
    /// The step's numbers in firing order, each name once.
    pub metrics: Vec<(&'static str, f64)>,
    /// Time in which the island waited for pictures.
    pub data_wait: Duration,
    /// What is to be kept beside the record.
    pub pictures: Vec<Drawn>,
}

impl<'a, D: Kernels> Island<'a, D> {
    /// Builds the stages on this thread.
    pub fn new(
        run: &'a Run<'a>,
        device: &D,
        build: &dyn Build<D>,
        track: Track<'a>,
    ) -> Result<Self, Stopped> {
        let plan = run.plan;
        let phases = plan.phases.iter().map(|phase| {
            let firings = phase.actors.iter().map(|actor| Firing::of(plan, *actor)).collect();
            (phase.rate, firings)
        });
        let mut island = Island {
            run,
            device: device.clone(),
            stages: plan.nodes.iter().map(|_| None).collect(),
            slots: Slot::of(plan),
            phases: Rc::new(phases.collect()),
            followers: plan.nodes.iter().enumerate().map(|(i, _)| follower(run, NodeId(i))).collect(),
            arrivals: feeders(run).into_iter().map(|node| (node, 0)).collect(),
            track,
            watch: build.watch(),
            kept: None,
        };
        for (index, node) in plan.nodes.iter().enumerate() {
            if node.place == Place::Island && node.role != Role::Checkpoint {
                let actor = Firing::forward(plan, NodeId(index)).actor;
                let stage = run.guarded(actor, run.steps.start, || build.build(NodeId(index)))?;
                island.stages[index] = Some(stage);
            }
        }
        Ok(island)
    }

    /// Fills the feedback wires for the next step: after building, or after restoring.
    pub fn first(&mut self) -> Result<(), Stopped> {
        let plan = self.run.plan;
        let at = self.run.moment(Rate::Step, self.run.steps.start);
        for index in 0..plan.nodes.len() {
            let firing = Firing::forward(plan, NodeId(index));
            let carried = |edges: &Vec<EdgeId>| edges.iter().any(|edge| self.slots[edge.0].outlives_step());
            let wanted: Vec<bool> = firing.outputs.iter().map(carried).collect();
            if !wanted.contains(&true) {
                continue;
            }
            let Some(stage) = self.stages[index].as_mut() else { continue };
            let mut values: Vec<_> = wanted.iter().map(|_| None).collect();
            self.run.guarded(firing.actor, at.step, || {
                stage.first(&mut Outputs {
                    values: &mut values,
                    wanted: &wanted,
                    metrics: &mut Vec::new(),
                    events: &mut Vec::new(),
                })
            })?;
            self.hand_on(&firing, &at, values, true)?;
        }
        self.slots.iter_mut().for_each(Slot::advance);
        Ok(())
    }

    /// One step: every phase, then the commit.
    pub fn step(&mut self, step: u64, feed: &mut dyn Feed<D>) -> Result<Done, Stopped> {
        let mut done = Done::default();
        // what looked on at the barrier keeps no handle of what this step updates
        self.slots.iter_mut().filter(|slot| slot.to_barrier()).for_each(Slot::clear);
        self.arrivals.iter_mut().for_each(|(_, count)| *count = 0);
        let phases = self.phases.clone();
        for (rate, firings) in phases.iter() {
            let micros = self.run.per_step(*rate);
            for micro in 0..micros {
                let at = Moment { step, micro, micros, horizon: self.run.horizon };
                for firing in firings {
                    self.await_pictures(firing, &at, feed, &mut done)?;
                    self.fire(firing, &at, &mut done.metrics, &mut Vec::new())?;
                }
            }
        }
        if let Some(watch) = &mut self.watch {
            let report = guard(|| watch.report());
            done.metrics.extend(report.map_err(|cause| self.run.fail("doctor".into(), step, cause))?);
            let drawn = guard(|| watch.pictures());
            done.pictures = drawn.map_err(|cause| self.run.fail("pictures".into(), step, cause))?;
        }
        self.commit(step)?;
        Ok(done)
    }

    /// Fires a stage at the barrier; `step` counts the updates that are committed.
    pub fn fire_at_barrier(&mut self, node: NodeId, step: u64) -> Result<Vec<Event>, Stopped> {
        let firing = Firing::forward(self.run.plan, node);
        let at = self.run.moment(Rate::Barrier, step);
        let mut events = Vec::new();
        self.fire(&firing, &at, &mut Vec::new(), &mut events)?;
        Ok(events)
    }

    fn fire(
        &mut self,
        firing: &Firing,
        at: &Moment,
        metrics: &mut Vec<(&'static str, f64)>,
        events: &mut Vec<Event>,
    ) -> Result<(), Stopped> {
        if self.run.fault.stopped() {
            return Err(Stopped);
        }
        let values = self.gather(firing, at)?;
        if let Some(kept) = &mut self.kept {
            kept.keep(firing.actor, at.micro, &values);
        }
        let follower = self.followers[firing.actor.node.0];
        let (given, reported) = self.work(firing, at, &values, follower, events)?;
        if let (Some(watch), Direction::Forward) = (&mut self.watch, firing.actor.direction) {
            self.run.guarded(firing.actor, at.step, || watch.saw(firing.actor.node, at, &values, &given))?;
        }
        drop(values);
        for (name, value) in reported {
            match metrics.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += value,
                None => metrics.push((name, value)),
            }
        }
        self.hand_on(firing, at, given, false)
    }

    /// Does a firing's work on these values: what it gives and what it reports. A follower lends its average meanwhile.
    pub(super) fn work(
        &mut self,
        firing: &Firing,
        at: &Moment,
        values: &[Option<Value<D>>],
        follower: Option<NodeId>,
        events: &mut Vec<Event>,
    ) -> Result<Given<D>, Stopped> {
        let mut given: Vec<_> = firing.outputs.iter().map(|_| None).collect();
        let mut reported = Vec::new();
        let lend = |follower: NodeId| self.stages[follower.0].as_mut()?.lend_average(at);
        let mut average = follower.and_then(lend);
        let stage = self.stages[firing.actor.node.0].as_mut();
        let wanted = &firing.wanted;
        let fired = self.run.fire(&mut self.track, firing.actor, at, || {
            let stage =
                stage.ok_or_else(|| StageError::Bug("the plan fires a stage it has not built".into()))?;
            let mut inputs = Inputs { values };
            let mut outputs = Outputs { values: &mut given, wanted, metrics: &mut reported, events };
            match (firing.actor.direction, &mut average) {
                (Direction::Forward, Some(average)) => {
                    stage.fire_beside(at, &mut inputs, &mut outputs, average)
                }
                (Direction::Forward, None) => stage.fire(at, &mut inputs, &mut outputs),
                (Direction::Backward, _) => stage.backward(at, &mut inputs, &mut outputs),
            }
        });
        let lender = follower.and_then(|follower| self.stages[follower.0].as_mut());
        if let (Some(average), Some(lender)) = (average, lender) {
            lender.return_average(average);
        }
        fired?;
        Ok((given, reported))
    }

    /// A value for each port; gradients that meet are summed in wire order.
    fn gather(&mut self, firing: &Firing, at: &Moment) -> Result<Vec<Option<Value<D>>>, Stopped> {
        let (slots, device) = (&mut self.slots, &self.device);
        let mut port = |edges: &Vec<EdgeId>| {
            let mut sum = None;
            for edge in edges {
                sum = match (sum, slots[edge.0].take(at.micro)?) {
                    (Some(sum), Some(more)) => Some(add(device, sum, &more)?),
                    (one, other) => one.or(other),
                };
            }
            Ok(sum)
        };
        let values: Result<_, StageError> = firing.inputs.iter().map(&mut port).collect();
        values.map_err(|e| self.run.fail(self.run.name(firing.actor), at.step, e))
    }

    /// Lays what a stage gave on its wires; before a run's first step, on those alone that reach over its start.
    fn hand_on(
        &mut self,
        firing: &Firing,
        at: &Moment,
        given: Vec<Option<Value<D>>>,
        first: bool,
    ) -> Result<(), Stopped> {
        let fail = |run: &Run<'_>, e| run.fail(run.name(firing.actor), at.step, e);
        for (port, (value, edges)) in given.into_iter().zip(&firing.outputs).enumerate() {
            let edges: Vec<_> = edges.iter().filter(|e| !first || self.slots[e.0].outlives_step()).collect();
            let Some(value) = value else {
                // a missing gradient is a zero; any other missing value would be met later, in another stage's words
                let needed = |edge: &&EdgeId| self.slots[edge.0].needed(first);
                if firing.actor.direction == Direction::Forward && edges.into_iter().any(|e| needed(&e)) {
                    let name = self.run.plan.nodes[firing.actor.node.0].outputs[port].name;
                    return Err(fail(
                        self.run,
                        StageError::Bug(format!("it gave nothing at its output {name}")),
                    ));
                }
                continue;
            };
            for edge in edges {
                let put = self.slots[edge.0].put(&self.device, at.micro, value.clone());
                put.map_err(|e| fail(self.run, e))?;
            }
        }
        Ok(())
    }

    /// Every stage has fired without an error: what was pending becomes state.
    fn commit(&mut self, step: u64) -> Result<(), Stopped> {
        for index in 0..self.stages.len() {
            self.commit_one(NodeId(index), step)?;
        }
        self.slots.iter_mut().for_each(Slot::advance);
        Ok(())
    }

    /// What was pending in a stage becomes its state.
    pub(super) fn commit_one(&mut self, node: NodeId, step: u64) -> Result<(), Stopped> {
        let at = self.run.moment(Rate::Step, step);
        let Some(stage) = self.stages[node.0].as_mut() else { return Ok(()) };
        self.run.guarded(Actor { node, direction: Direction::Forward }, step, || {
            stage.commit(&at);
            Ok(())
        })
    }
}

/// The stage of the teacher's rule that reads what an optimizer has just updated, where the two share a pass over memory.
pub fn follower(run: &Run<'_>, leader: NodeId) -> Option<NodeId> {
    let nodes = &run.plan.nodes;
    let reads = |to: NodeId| nodes[leader.0].role == Role::Optimizer && nodes[to.0].role == Role::Ema;
    let edge =
        |e: &&crate::plan::PlanEdge| e.kind == EdgeKind::Forward && e.from.node == leader && reads(e.to.node);
    run.plan.edges.iter().find(edge).filter(|_| run.fuse).map(|e| e.to.node)
}
