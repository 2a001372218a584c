//! Host stages (source, decode, multi_crop, collate): what one firing takes and gives, whoever fires it.

use super::channel::Stopped;
use super::firing::{Firing, Run};
use super::stage::{Inputs, Outputs, Stage, StageError, Value};
use super::trace::Track;
use crate::kernels::Kernels;
use crate::plan::{EdgeId, EdgeKind, NodeId, Place};

/// What one firing gives: a value for each output port.
pub type Bundle<D> = Vec<Option<Value<D>>>;

/// Where the island gets what host stages make.
pub trait Feed<D: Kernels> {
    /// What the `arrival`th feeding host node gives in firing `ticket` of the run.
    fn next(&mut self, arrival: usize, ticket: u64, track: &mut Track<'_>) -> Result<Bundle<D>, Stopped>;
}

/// A host node with its neighbours.
#[derive(Clone)]
pub struct HostNode {
    pub node: NodeId,
    /// For each wired input port: the port, and the index in `producers` and output port that it is wired to.
    ports: Vec<(usize, usize, usize)>,
    inputs: usize,
    /// Nodes that feed this one, with how many of their firings make one of this.
    pub producers: Vec<(NodeId, usize)>,
    /// Host nodes that this one feeds, and whether it feeds the island.
    pub consumers: Vec<NodeId>,
    pub feeds_island: bool,
    wanted: Vec<bool>,
    /// Outputs that a consumer can't do without.
    needed: Vec<bool>,
    /// Whether an input holds a list of values: the producer fires more often.
    gathers: Vec<bool>,
}

impl HostNode {
    /// The host nodes of a plan in topological order.
    ///
    /// # Errors
    /// When a host stage fires less often than one it feeds, or is fed by the island: the plan is not one.
    pub fn of(run: &Run<'_>) -> Result<Vec<Self>, StageError> {
        run.plan.host.iter().map(|node| HostNode::new(run, *node)).collect()
    }

    fn new(run: &Run<'_>, node: NodeId) -> Result<Self, StageError> {
        let plan = run.plan;
        let at_host = |node: NodeId| matches!(plan.nodes[node.0].place, Place::Host { .. });
        let firing = Firing::forward(plan, node);
        let (mut ports, mut producers, mut gathers) = (Vec::new(), Vec::new(), Vec::new());
        for edge in plan.edges.iter().filter(|e| e.to.node == node && e.kind != EdgeKind::Gradient) {
            let from = edge.from.node;
            let (often, seldom) = (plan.nodes[from.0].rate, plan.nodes[node.0].rate);
            let ratio = run.per_step(often) / run.per_step(seldom);
            if ratio == 0 || !at_host(from) || edge.kind != EdgeKind::Forward {
                let (a, b) = (&plan.nodes[from.0].name, &plan.nodes[node.0].name);
                return Err(StageError::Bug(format!("{b} runs on the host and can't follow {a}")));
            }
            let index = producers.iter().position(|(known, _)| *known == from).unwrap_or_else(|| {
                producers.push((from, ratio));
                gathers.push(often != seldom);
                producers.len() - 1
            });
            ports.push((edge.to.port, index, edge.from.port));
        }
        let mut consumers: Vec<NodeId> = Vec::new();
        for edge in plan.edges.iter().filter(|e| e.from.node == node && at_host(e.to.node)) {
            if !consumers.contains(&edge.to.node) {
                consumers.push(edge.to.node);
            }
        }
        let feeds_island = plan.edges.iter().any(|e| e.from.node == node && !at_host(e.to.node));
        let inputs = plan.nodes[node.0].inputs.len();
        let needs = |edge: &EdgeId| {
            let to = plan.edges[edge.0].to;
            !plan.nodes[to.node.0].inputs[to.port].optional
        };
        let needed = firing.outputs.iter().map(|edges| edges.iter().any(needs)).collect();
        let wanted = firing.wanted;
        Ok(HostNode { node, ports, inputs, producers, consumers, feeds_island, wanted, needed, gathers })
    }

    /// Fires the stage on what its producers gave: for each of them, the bundles of the firings that make one of this.
    pub fn fire<D: Kernels>(
        &self,
        run: &Run<'_>,
        track: &mut Track<'_>,
        stage: &mut dyn Stage<D>,
        ticket: u64,
        bundles: Vec<Vec<Bundle<D>>>,
    ) -> Result<Bundle<D>, Stopped> {
        let node = &run.plan.nodes[self.node.0];
        let at = run.moment(node.rate, ticket);
        let values = self.values(bundles);
        let mut given: Bundle<D> = self.wanted.iter().map(|_| None).collect();
        let actor = Firing::forward(run.plan, self.node).actor;
        run.fire(track, actor, &at, || {
            stage.fire(
                &at,
                &mut Inputs { values: &values },
                &mut Outputs {
                    values: &mut given,
                    wanted: &self.wanted,
                    metrics: &mut Vec::new(),
                    events: &mut Vec::new(),
                },
            )?;
            let missing =
                self.needed.iter().zip(&given).position(|(needed, value)| *needed && value.is_none());
            missing.map_or(Ok(()), |port| {
                let name = node.outputs[port].name;
                Err(StageError::Bug(format!("it gave nothing at its output {name}")))
            })
        })?;
        Ok(given)
    }

    fn values<D: Kernels>(&self, bundles: Vec<Vec<Bundle<D>>>) -> Vec<Option<Value<D>>> {
        let mut values: Vec<Option<Value<D>>> = (0..self.inputs).map(|_| None).collect();
        for &(port, producer, output) in &self.ports {
            let of = &bundles[producer];
            values[port] = if self.gathers[producer] {
                Some(Value::Gathered(of.iter().filter_map(|bundle| bundle[output].clone()).collect()))
            } else {
                of[0][output].clone()
            };
        }
        values
    }
}
