//! The order of firing: which actors there are, and in which phases of a step they stand.

use super::{Actor, Direction, EdgeKind, NodeId, Phase, Place, PlanEdge, PlanNode};
use crate::stages::{EdgeType, Rate};

/// The island's actors with whom each waits for, in an order in which nobody waits for a later one.
pub struct Turns {
    actors: Vec<Actor>,
    /// For each actor, the indices of those that must have fired before it.
    after: Vec<Vec<usize>>,
}

/// The actors of a plan's island: every node forward, and backward those that gradients leave.
pub fn actors_of(nodes: &[PlanNode], edges: &[PlanEdge]) -> Turns {
    let fires = |n: &NodeId| nodes[n.0].place == Place::Island && nodes[n.0].rate != Rate::Barrier;
    let island = || (0..nodes.len()).map(NodeId).filter(fires);
    let gives = |n: &NodeId| edges.iter().any(|e| e.kind == EdgeKind::Gradient && e.from.node == *n);
    let mut actors: Vec<Actor> = island().map(|node| Actor { node, direction: Direction::Forward }).collect();
    actors.extend(island().filter(gives).map(|node| Actor { node, direction: Direction::Backward }));
    let waits = |actor: &Actor| -> Vec<Actor> {
        let forward = |node| Actor { node, direction: Direction::Forward };
        let backward = |node| Actor { node, direction: Direction::Backward };
        let of_edge = |edge: &PlanEdge| match (edge.kind, actor.direction, &edge.ty) {
            (EdgeKind::Forward, Direction::Forward, _) => Some(forward(edge.from.node)),
            (EdgeKind::Gradient, Direction::Forward, EdgeType::Gradients) => Some(backward(edge.from.node)),
            (EdgeKind::Gradient, Direction::Backward, ty) if *ty != EdgeType::Gradients => {
                Some(backward(edge.from.node))
            }
            _ => None,
        };
        let mut waits: Vec<Actor> =
            edges.iter().filter(|e| e.to.node == actor.node).filter_map(of_edge).collect();
        if actor.direction == Direction::Backward {
            waits.push(forward(actor.node));
        }
        waits
    };
    let after: Vec<Vec<Actor>> = actors.iter().map(waits).collect();
    sorted(actors, after)
}

/// Sorted so that nobody waits for a later one; among those that could be next, the first of the file.
fn sorted(actors: Vec<Actor>, waits: Vec<Vec<Actor>>) -> Turns {
    let mut order: Vec<usize> = Vec::new();
    let ready = |order: &[usize], i: usize| {
        let fired = |w: &Actor| order.iter().any(|&o| actors[o] == *w) || !actors.contains(w);
        !order.contains(&i) && waits[i].iter().all(fired)
    };
    while let Some(next) = (0..actors.len()).find(|&i| ready(&order, i)) {
        order.push(next);
    }
    let place = |actor: &Actor| order.iter().position(|&o| actors[o] == *actor);
    let after = order.iter().map(|&o| waits[o].iter().filter_map(place).collect()).collect();
    Turns { actors: order.iter().map(|&o| actors[o]).collect(), after }
}

/// Groups actors by rate into phases, each as late as can be: so a trained node's forward half stands in the loop of its backward half,
/// and the tape of one micro-batch lives at a time.
pub fn phases(turns: &Turns, nodes: &[PlanNode], _: &[PlanEdge]) -> Vec<Phase> {
    let rate = |i: usize| nodes[turns.actors[i].node.0].rate;
    // levels count back from the end of the step; a change of rate is a new level
    let mut level = vec![0i64; turns.actors.len()];
    for i in (0..turns.actors.len()).rev() {
        for &before in &turns.after[i] {
            let latest = level[i] - i64::from(rate(before) != rate(i));
            level[before] = level[before].min(latest);
        }
    }
    let mut keys: Vec<(i64, bool)> = (0..level.len()).map(|i| (level[i], rate(i) == Rate::Step)).collect();
    keys.sort_unstable();
    keys.dedup();
    let phase = |key: &(i64, bool)| Phase {
        rate: if key.1 { Rate::Step } else { Rate::Micro },
        actors: (0..level.len())
            .filter(|&i| (level[i], rate(i) == Rate::Step) == *key)
            .map(|i| turns.actors[i])
            .collect(),
    };
    keys.iter().map(phase).collect()
}
