//! The order of firing: actors (nodes, and the backward halves of trained ones) sorted into phases of one rate.

use petgraph::Direction::Outgoing;
use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graphmap::DiGraphMap;

use super::{Actor, Direction, EdgeKind, NodeId, Phase};
use crate::graph::check::Joint;
use crate::stages::Rate;

/// A graph reduced to what its order depends on.
pub struct Net {
    /// Each node's rate, and whether it runs on the host; none where it is not known.
    pub nodes: Vec<Option<(Rate, bool)>>,
    pub joints: Vec<Joint>,
}

/// An actor as a vertex: the node, and whether it is its backward half.
type Vertex = (usize, bool);

/// `student`, `student/backward`.
pub fn word(node: &str, direction: Direction) -> String {
    match direction {
        Direction::Forward => node.to_owned(),
        Direction::Backward => format!("{node}/backward"),
    }
}

fn actor(vertex: Vertex) -> Actor {
    let direction = if vertex.1 { Direction::Backward } else { Direction::Forward };
    Actor { node: NodeId(vertex.0), direction }
}

impl Net {
    /// Who must fire before whom within a step.
    fn actors(&self) -> DiGraphMap<Vertex, ()> {
        let mut graph = DiGraphMap::new();
        for node in 0..self.nodes.len() {
            graph.add_node((node, false));
        }
        let backward = |node| self.joints.iter().any(|j| j.kind == EdgeKind::Gradient && j.from.0 == node);
        for joint in &self.joints {
            let (from, to) = (joint.from.0, joint.to.0);
            match joint.kind {
                EdgeKind::Forward => graph.add_edge((from, false), (to, false), ()),
                EdgeKind::Feedback => None,
                EdgeKind::Gradient => {
                    // the tape: a backward half needs its own forward half
                    graph.add_edge((from, false), (from, true), ());
                    graph.add_edge((from, true), (to, backward(to)), ())
                }
            };
        }
        graph
    }

    /// Nodes in an order in which ordinary wires go forward, the file's where there is a choice; without those on or
    /// behind a cycle.
    pub fn forward_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        let ready = |node: usize, order: &[usize]| {
            let forward = |j: &&Joint| j.kind == EdgeKind::Forward && j.to.0 == node;
            self.joints.iter().filter(forward).all(|joint| order.contains(&joint.from.0))
        };
        while let Some(next) =
            (0..self.nodes.len()).find(|node| !order.contains(node) && ready(*node, &order))
        {
            order.push(next);
        }
        order
    }

    /// The island's phases in order.
    ///
    /// # Errors
    /// The shortest cycle through the first actor that is on one, as a walk.
    pub fn phases(&self) -> Result<Vec<Phase>, Vec<Actor>> {
        let graph = self.actors();
        let Ok(sorted) = toposort(&graph, None) else { return Err(self.walk(&graph)) };
        let rate = |vertex: Vertex| self.nodes[vertex.0].map(|(rate, _)| rate);
        let island = |vertex: Vertex| matches!(self.nodes[vertex.0], Some((Rate::Micro | Rate::Step, false)));
        // as late as possible: how many changes of rate lie between an actor and the step's end
        let mut left = std::collections::HashMap::new();
        for vertex in sorted.iter().rev().filter(|vertex| island(**vertex)) {
            let after = graph.neighbors_directed(*vertex, Outgoing).filter(|next| island(*next));
            let most = after
                .map(|next| left.get(&next).copied().unwrap_or(0) + usize::from(rate(next) != rate(*vertex)))
                .max()
                .unwrap_or(0);
            left.insert(*vertex, most);
        }
        let mut phases = Vec::new();
        let last = left.values().copied().max().unwrap_or(0);
        for level in (0..=last).rev() {
            for wanted in [Rate::Micro, Rate::Step] {
                let here = |v: &Vertex| left.get(v) == Some(&level) && rate(*v) == Some(wanted);
                let actors = in_file_order(&graph, sorted.iter().copied().filter(here).collect());
                if !actors.is_empty() {
                    phases.push(Phase { rate: wanted, actors: actors.into_iter().map(actor).collect() });
                }
            }
        }
        Ok(phases)
    }

    /// The shortest walk that comes back to where it started.
    fn walk(&self, graph: &DiGraphMap<Vertex, ()>) -> Vec<Actor> {
        let on_cycle = |part: &Vec<Vertex>| part.len() > 1 || graph.contains_edge(part[0], part[0]);
        let first = tarjan_scc(graph).into_iter().filter(on_cycle).flatten().min();
        let Some(start) = first else { return Vec::new() };
        let mut walks = vec![vec![start]];
        let mut seen = vec![];
        while !walks.is_empty() {
            let mut longer = Vec::new();
            for walk in walks {
                let end = walk[walk.len() - 1];
                for next in graph.neighbors_directed(end, Outgoing) {
                    if next == start {
                        return walk.into_iter().map(actor).collect();
                    }
                    if !seen.contains(&next) {
                        seen.push(next);
                        longer.push([&walk[..], &[next]].concat());
                    }
                }
            }
            walks = longer;
        }
        vec![actor(start)]
    }
}

/// A topological order of some actors, by their place in the file where there is a choice; backward halves after what is
/// ready forward.
fn in_file_order(graph: &DiGraphMap<Vertex, ()>, mut left: Vec<Vertex>) -> Vec<Vertex> {
    left.sort_by_key(|(node, backward)| (*backward, *node));
    let mut order = Vec::new();
    while !left.is_empty() {
        let free = |v: &Vertex| left.iter().all(|other| other == v || !graph.contains_edge(*other, *v));
        let next = left.iter().position(free).unwrap_or(0);
        order.push(left.remove(next));
    }
    order
}

/// A node whose two halves lie in different phases.
pub fn split(phases: &[Phase]) -> Option<NodeId> {
    let phase = |actor: &Actor| phases.iter().position(|phase| phase.actors.contains(actor));
    phases.iter().flat_map(|phase| &phase.actors).find_map(|actor| {
        let forward = Actor { direction: Direction::Forward, ..*actor };
        let split = actor.direction == Direction::Backward && phase(actor) != phase(&forward);
        split.then_some(actor.node)
    })
}

/// The nodes that fire once a step between a node's two halves.
pub fn between(phases: &[Phase], node: NodeId) -> Vec<NodeId> {
    let phase = |direction| phases.iter().position(|phase| phase.actors.contains(&Actor { node, direction }));
    let (Some(start), Some(end)) = (phase(Direction::Forward), phase(Direction::Backward)) else {
        return Vec::new();
    };
    let between = phases.get(start + 1..end).unwrap_or_default().iter();
    between.filter(|phase| phase.rate == Rate::Step).flat_map(|phase| &phase.actors).map(|a| a.node).collect()
}
