//! Stages by themselves, fed again and again with what they were handed in a real step.

use std::collections::HashMap;

use super::channel::Stopped;
use super::firing::Firing;
use super::host::{Bundle, HostNode};
use super::island::Island;
use super::sequential::Sequential;
use super::slots::Slot;
use super::stage::{Moment, Outputs, StageError, Value};
use super::trace::Track;
use crate::kernels::Kernels;
use crate::plan::{Actor, EdgeId, NodeId};

/// A value for each port of a firing.
type Handed<D> = Vec<Option<Value<D>>>;

/// What some stages of the island were handed in the step that was last done.
pub(super) struct Kept<D: Kernels> {
    nodes: Vec<NodeId>,
    handed: HashMap<(Actor, usize), Handed<D>>,
}

impl<D: Kernels> Kept<D> {
    /// Keeps a firing's inputs if it is one of those asked for. Weights are not kept: while anybody holds them, their owner can't
    /// update them.
    pub(super) fn keep(&mut self, actor: Actor, micro: usize, values: &[Option<Value<D>>]) {
        if self.nodes.contains(&actor.node) {
            let lent = |value: &Option<Value<D>>| {
                let own = |v: &Value<D>| !matches!(v, Value::Weights(_) | Value::Predictor(_));
                value.clone().filter(own)
            };
            self.handed.insert((actor, micro), values.iter().map(lent).collect());
        }
    }
}

impl<'a, D: Kernels> Island<'a, D> {
    /// From here on every step keeps what these stages are handed in it.
    pub fn keep_inputs_of(&mut self, nodes: Vec<NodeId>) {
        self.kept = Some(Kept { nodes, handed: HashMap::new() });
    }

    /// Fires the stages whose inputs were kept, and no others, in the order of a step and on those inputs; then they commit. What they
    /// give is dropped.
    pub fn step_alone(&mut self, step: u64) -> Result<(), Stopped> {
        // a wire that carries weights into the next step would keep them from their owner
        self.slots.iter_mut().for_each(Slot::clear);
        let Some(kept) = self.kept.take() else { return Ok(()) };
        let phases = self.phases.clone();
        for (rate, firings) in phases.iter() {
            let micros = self.run.per_step(*rate);
            for micro in 0..micros {
                let at = Moment { step, micro, micros, horizon: self.run.horizon };
                for firing in firings.iter().filter(|firing| kept.nodes.contains(&firing.actor.node)) {
                    let handed = kept.handed.get(&(firing.actor, micro)).cloned().unwrap_or_default();
                    let values = self.with_weights(firing, handed, step)?;
                    // what follows it works along only where it is timed as well
                    let follower = self.followers[firing.actor.node.0].filter(|f| kept.nodes.contains(f));
                    self.work(firing, &at, &values, follower, &mut Vec::new())?;
                }
            }
        }
        for node in &kept.nodes {
            self.commit_one(*node, step)?;
        }
        self.kept = Some(kept);
        Ok(())
    }

    /// Puts the weights in their places, lent by their owners as before a step.
    fn with_weights(
        &mut self,
        firing: &Firing,
        mut handed: Handed<D>,
        step: u64,
    ) -> Result<Handed<D>, Stopped> {
        let plan = self.run.plan;
        for (port, edges) in firing.inputs.iter().enumerate() {
            let weights = |edge: &&EdgeId| plan.edges[edge.0].ty.lent();
            let Some(EdgeId(edge)) = edges.iter().find(weights) else { continue };
            let from = plan.edges[*edge].from;
            let owner = Firing::forward(plan, from.node);
            let stage = self.stages[from.node.0].as_mut();
            let mut values: Handed<D> = owner.outputs.iter().map(|_| None).collect();
            let lend = || match stage {
                Some(stage) => stage.first(&mut Outputs {
                    values: &mut values,
                    wanted: &owner.wanted,
                    metrics: &mut Vec::new(),
                    events: &mut Vec::new(),
                }),
                None => Err(StageError::Bug("the plan lends weights of a stage it has not built".into())),
            };
            self.run.guarded(owner.actor, step, lend)?;
            if let Some(place) = handed.get_mut(port) {
                *place = values.swap_remove(from.port);
            }
        }
        Ok(handed)
    }
}

/// Host stages that follow one another, as one line of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    nodes: Vec<NodeId>,
    /// The one that the others lead to.
    pub last: NodeId,
}

impl<D: Kernels> Sequential<'_, D> {
    /// The line that these host nodes form, or nothing where they do not: all of them must lead to the last.
    pub fn line(&self, nodes: &[NodeId]) -> Option<Line> {
        let goes_on = |host: &&HostNode| host.consumers.iter().any(|next| nodes.contains(next));
        let named = self.hosts.iter().filter(|host| nodes.contains(&host.node));
        let ends: Vec<NodeId> = named.filter(|host| !goes_on(host)).map(|host| host.node).collect();
        match ends[..] {
            [last] => Some(Line { nodes: nodes.to_vec(), last }),
            _ => None,
        }
    }

    /// What the stages before a line give it for these firings of its last stage: (node, firing, bundle).
    pub fn inputs_of(
        &mut self,
        line: &Line,
        tickets: std::ops::Range<u64>,
        track: &mut Track<'_>,
    ) -> Result<Vec<(NodeId, u64, Bundle<D>)>, Stopped> {
        let mut wanted = Vec::new();
        for ticket in tickets {
            self.before(line, line.last, ticket, &mut wanted);
        }
        wanted.sort_by_key(|(node, ticket)| (node.0, *ticket));
        wanted.dedup();
        let bundle = |(node, ticket)| Ok((node, ticket, self.produce(node, ticket, track)?));
        wanted.into_iter().map(bundle).collect()
    }

    /// The firings of other stages that one firing of a stage in the line rests on.
    fn before(&self, line: &Line, node: NodeId, ticket: u64, wanted: &mut Vec<(NodeId, u64)>) {
        let Some(host) = self.hosts.iter().find(|host| host.node == node) else { return };
        for &(producer, ratio) in &host.producers {
            for ticket in ticket * ratio as u64..(ticket + 1) * ratio as u64 {
                match line.nodes.contains(&producer) {
                    true => self.before(line, producer, ticket, wanted),
                    false => wanted.push((producer, ticket)),
                }
            }
        }
    }

    /// Lays a bundle ready for good: its stage does not fire for it again.
    pub fn lay_ready(&mut self, node: NodeId, ticket: u64, bundle: Bundle<D>) {
        self.shared.insert((node, ticket), (bundle, usize::MAX));
    }

    /// Fires a line for one firing of its last stage.
    pub fn fire_line(
        &mut self,
        line: &Line,
        ticket: u64,
        track: &mut Track<'_>,
    ) -> Result<Bundle<D>, Stopped> {
        let bundle = self.produce(line.last, ticket, track)?;
        // a last stage with several consumers would be kept for the others
        self.shared.remove(&(line.last, ticket));
        Ok(bundle)
    }
}
