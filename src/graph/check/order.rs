//! The order of firing, and what forbids one: cycles, and tapes that would have to outlive their micro-batch.

use super::{Draft, Wire};
use crate::graph::load::Loaded;
use crate::graph::problem::{Diagnostic, listing};
use crate::plan::actors::{self, Net};
use crate::plan::{Actor, Phase};

/// Cycles, or else the order of firing.
pub fn order(loaded: &Loaded, draft: &mut Draft) {
    let net = Net {
        nodes: draft
            .nodes
            .iter()
            .map(|node| node.declared.as_ref().map(|d| (d.rate(), d.on_host())))
            .collect(),
        joints: draft.joints(),
    };
    draft.order = net.forward_order();
    match net.phases() {
        Ok(phases) => {
            split_tapes(loaded, draft, &phases);
            draft.phases = phases;
        }
        Err(walk) => {
            let problem = cycle(loaded, draft, &walk);
            draft.problems.push(problem);
        }
    }
}

/// A cycle as a walk, blamed on the wire that should have been feedback, if one can be told, else on the last written.
fn cycle(loaded: &Loaded, draft: &Draft, walk: &[Actor]) -> Diagnostic {
    let word = |actor: &Actor| actors::word(draft.nodes[actor.node.0].name, actor.direction);
    let mut words: Vec<String> = walk.iter().map(word).collect();
    words.extend(words.first().cloned());
    let steps: Vec<(usize, usize)> =
        walk.iter().zip(walk.iter().cycle().skip(1)).map(|(a, b)| (a.node.0, b.node.0)).collect();
    let on_cycle = |wire: &&Wire| {
        !wire.feedback && !wire.ignored && wire.from.is_some_and(|from| steps.contains(&(from, wire.node)))
    };
    let takes_feedback =
        |wire: &Wire| wire.port.is_some_and(|port| draft.nodes[wire.node].ports.inputs[port].feedback);
    let wires: Vec<&Wire> = draft.wires.iter().filter(on_cycle).collect();
    let blamed = wires.iter().find(|wire| takes_feedback(wire)).or(wires.last());
    let Some(wire) = blamed else {
        return Diagnostic::error(loaded.tree.at.clone(), format!("a cycle: {}", words.join(" -> ")));
    };
    let name = draft.nodes[wire.node].name;
    let help = match takes_feedback(wire) {
        true => format!(
            "`{}` takes the previous step's value: move it from `inputs` to `feedback`",
            wire.port_name
        ),
        false => "take one of these wires away".into(),
    };
    Diagnostic::error(wire.place.clone(), format!("a cycle without feedback: {}", words.join(" -> ")))
        .node(name)
        .key(&wire.port_name)
        .expected("a value that does not depend on this node")
        .found(format!("`{}`", wire.text))
        .help(help)
}

/// With micro-batches, one tape lives at a time: nothing may need a trained node's outputs of the whole batch before its
/// backward half has run.
fn split_tapes(loaded: &Loaded, draft: &mut Draft, phases: &[Phase]) {
    if draft.batch.micro == draft.batch.global {
        return;
    }
    let Some(node) = actors::split(phases) else { return };
    let between = actors::between(phases, node);
    let names: Vec<&str> = between.iter().map(|node| draft.nodes[node.0].name).collect();
    let who = listing(names.iter().copied());
    let problem =
        Diagnostic::error(loaded.place(&["micro_batch"]), "micro-batches where the whole batch is needed")
            .key("micro_batch")
            .expected(format!(
                "{}, all of global_batch: {who} needs all rows of `{}` at once",
                draft.batch.global, draft.nodes[node.0].name
            ))
            .found(draft.batch.micro.to_string())
            .help("leave `micro_batch` out");
    draft.problems.push(problem);
}
