//! Wires: from an output that is there to an input that is there, each needed input once.

use super::{Draft, DraftNode, Wire};
use crate::graph::load::Loaded;
use crate::graph::problem::{Diagnostic, listing};
use crate::stages::registry::Declared;
use crate::stages::{Port, Use};

/// Finds both ends of every wire, and judges them.
pub fn resolve(loaded: &Loaded, draft: &mut Draft) {
    let mut found = Vec::new();
    let mut wires = Vec::new();
    for (index, node) in draft.nodes.iter().enumerate() {
        for (feedback, map) in [(false, &node.spec.inputs), (true, &node.spec.feedback)] {
            for (port, text) in map {
                let wire = wire(loaded, draft, index, port, text, feedback, &mut found);
                wires.push(wire);
            }
        }
        unwired(loaded, index, node, &wires, &mut found);
    }
    draft.wires = wires;
    draft.problems.extend(found);
    misplaced(draft);
}

fn wire(
    loaded: &Loaded,
    draft: &Draft,
    index: usize,
    port_name: &str,
    text: &str,
    feedback: bool,
    found: &mut Vec<Diagnostic>,
) -> Wire {
    let node = &draft.nodes[index];
    let map = if feedback { "feedback" } else { "inputs" };
    let path = ["nodes", node.name, map, port_name];
    let mut wire = Wire {
        node: index,
        port: DraftNode::port(&node.ports.inputs, port_name).map(|(port, _)| port),
        port_name: port_name.into(),
        text: text.into(),
        feedback,
        from: None,
        from_port: None,
        ignored: false,
        place: loaded.place(&path),
    };
    if wire.port.is_none() && node.declared.is_some() {
        let at = loaded.tree.key_place(&path).clone();
        let what = format!("`{}` has no input `{port_name}`", node.name);
        found.push(unknown_port(at, what, node, &node.ports.inputs, port_name).key(map));
    }
    if loaded.sound(&path) {
        producer(loaded, draft, &mut wire, found);
    }
    let useless = |declared: &Declared| declared.uses(port_name) == Use::Ignored;
    wire.ignored =
        wire.port.is_some() && wire.from_port.is_some() && node.declared.as_ref().is_some_and(useless);
    wire
}

/// Finds where a wire comes from.
fn producer(loaded: &Loaded, draft: &Draft, wire: &mut Wire, found: &mut Vec<Diagnostic>) {
    let node = &draft.nodes[wire.node];
    let names = || draft.nodes.iter().map(|node| node.name);
    let Some((producer, output)) = wire.text.split_once('/') else {
        let problem =
            Diagnostic::error(wire.place.clone(), "not a wire").node(node.name).key(&wire.port_name);
        let problem = problem.expected("`producer/port`").found(format!("{:?}", wire.text));
        found.push(problem.nearest(&wire.text, names()));
        return;
    };
    wire.from = draft.nodes.iter().position(|node| node.name == producer);
    let Some(from) = wire.from else {
        let problem = Diagnostic::error(wire.place.clone(), format!("no node `{producer}`"));
        let problem = problem.expected(listing(names())).found(format!("`{producer}`"));
        let problem = problem.node(node.name).key(&wire.port_name);
        found.push(match loaded.left_out.iter().find(|(name, _)| name == producer) {
            None => problem.nearest(producer, names()),
            Some((_, place)) => problem
                .also(place.clone(), "left out here")
                .help(format!("wire it elsewhere, or leave `{}` out as well", node.name)),
        });
        return;
    };
    let from = &draft.nodes[from];
    wire.from_port = from.ports.outputs.iter().position(|port| port.name == output);
    if wire.from_port.is_none() && from.declared.is_some() {
        let what = format!("`{producer}` has no output `{output}`");
        let problem = unknown_port(wire.place.clone(), what, node, &from.ports.outputs, output);
        found.push(problem.key(&wire.port_name));
    }
}

fn unknown_port(
    at: crate::graph::origin::Place,
    what: String,
    node: &DraftNode,
    known: &[Port],
    name: &str,
) -> Diagnostic {
    let names = || known.iter().filter(|port| !port.mirrored).map(|port| port.name);
    Diagnostic::error(at, what)
        .node(node.name)
        .expected(listing(names()))
        .found(format!("`{name}`"))
        .nearest(name, names())
}

/// Inputs of a node that nothing or more than one thing is wired to.
fn unwired(loaded: &Loaded, index: usize, node: &DraftNode, wires: &[Wire], found: &mut Vec<Diagnostic>) {
    for (port, declared) in node.ports.inputs.iter().enumerate() {
        let here: Vec<&Wire> =
            wires.iter().filter(|wire| wire.node == index && wire.port == Some(port)).collect();
        let map = if declared.feedback { "feedback" } else { "inputs" };
        if let [first, second, ..] = here[..] {
            let problem = Diagnostic::error(
                second.place.clone(),
                format!("`{}/{}` is wired twice", node.name, declared.name),
            );
            let problem =
                problem.node(node.name).key(declared.name).expected(format!("one wire, under `{map}`"));
            found.push(
                problem.found(format!("`{}` too", second.text)).also(first.place.clone(), "first here"),
            );
        }
        if here.is_empty() && node.needs(declared) && loaded.sound(&["nodes", node.name, map]) {
            let place = loaded.tree.key_place(&["nodes", node.name]).clone();
            let problem = Diagnostic::error(
                place,
                format!("the input `{}` of `{}` is not wired", declared.name, node.name),
            );
            let expected = format!("{map}: {{\"{}\": \"producer/port\"}}, {}", declared.name, declared.about);
            found.push(problem.node(node.name).key(map).expected(expected).found("nothing"));
        }
    }
}

/// Ordinary wires where feedback belongs and the reverse. One that closes a cycle is left to the cycle's message.
fn misplaced(draft: &mut Draft) {
    let mut found = Vec::new();
    for wire in &draft.wires {
        let Some(port) = wire.port.map(|port| &draft.nodes[wire.node].ports.inputs[port]) else { continue };
        if port.feedback == wire.feedback || (!wire.feedback && closes_cycle(draft, wire)) {
            continue;
        }
        let (expected, stands) = match port.feedback {
            true => ("under `feedback`: it takes the previous step's value", "under `inputs`"),
            false => ("under `inputs`: it takes this step's value", "under `feedback`"),
        };
        let name = draft.nodes[wire.node].name;
        let problem = Diagnostic::error(
            wire.place.clone(),
            format!("`{name}/{}` is wired in the wrong place", port.name),
        );
        found.push(problem.node(name).key(port.name).expected(expected).found(stands));
    }
    draft.problems.extend(found);
}

/// Whether the producer of an ordinary wire depends on its consumer, by values or by gradients.
fn closes_cycle(draft: &Draft, wire: &Wire) -> bool {
    let mut reached = vec![wire.node];
    let mut next = 0;
    while next < reached.len() {
        let here = reached[next];
        next += 1;
        if Some(here) == wire.from {
            return true;
        }
        let ordinary = draft.wires.iter().filter(|wire| !wire.feedback && wire.from == Some(here));
        let ahead = ordinary.map(|wire| wire.node);
        let trained = draft.nodes.iter().enumerate().filter(|(_, node)| {
            let trains =
                node.declared.as_ref().map(|declared| declared.trains().to_vec()).unwrap_or_default();
            trains.iter().any(|name| name == draft.nodes[here].name)
        });
        let ahead: Vec<usize> = ahead.chain(trained.map(|(index, _)| index)).collect();
        for node in ahead {
            if !reached.contains(&node) {
                reached.push(node);
            }
        }
    }
    false
}
