//! Wires: from an output that is there to an input that is there, each needed input once; and the gradient wires that
//! follow from them.

use super::{Draft, DraftNode, Joint, Wire};
use crate::graph::load::Loaded;
use crate::graph::problem::{Diagnostic, listing};
use crate::plan::EdgeKind;
use crate::stages::Port;

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
        place: loaded.place(&path),
    };
    if wire.port.is_none() && node.declared.is_some() {
        let at = loaded.tree.key_place(&path).clone();
        let what = format!("`{}` has no input `{port_name}`", node.name);
        found.push(unknown_port(at, what, node, &node.ports.inputs, port_name).key(map));
    }
    if !loaded.sound(&path) {
        return wire;
    }
    let Some((producer, output)) = text.split_once('/') else {
        let problem = Diagnostic::error(wire.place.clone(), "not a wire").node(node.name).key(port_name);
        let nodes = draft.nodes.iter().map(|node| node.name);
        let problem = problem.expected("`producer/port`").found(format!("{text:?}")).nearest(text, nodes);
        found.push(problem);
        return wire;
    };
    wire.from = draft.nodes.iter().position(|node| node.name == producer);
    let Some(from) = wire.from else {
        let names = || draft.nodes.iter().map(|node| node.name);
        let problem = Diagnostic::error(wire.place.clone(), format!("no node `{producer}`"));
        let problem =
            problem.expected(listing(names())).found(format!("`{producer}`")).nearest(producer, names());
        found.push(problem.node(node.name).key(port_name));
        return wire;
    };
    let from = &draft.nodes[from];
    wire.from_port = from.ports.outputs.iter().position(|port| port.name == output);
    if wire.from_port.is_none() && from.declared.is_some() {
        let what = format!("`{producer}` has no output `{output}`");
        let problem = unknown_port(wire.place.clone(), what, node, &from.ports.outputs, output);
        found.push(problem.key(port_name));
    }
    wire
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
        if here.is_empty()
            && !declared.optional
            && !declared.mirrored
            && loaded.sound(&["nodes", node.name, map])
        {
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

/// Mirrors the wires through which gradients flow back to what is trained, and leads those of the weights to their
/// optimizer.
pub fn mirror(loaded: &Loaded, draft: &mut Draft) {
    let mut trained: Vec<(usize, usize, usize)> = Vec::new();
    let mut found = Vec::new();
    for (optimizer, node) in draft.nodes.iter().enumerate() {
        let Some(declared) = &node.declared else { continue };
        for (index, name) in declared.trains().iter().enumerate() {
            match trainable(loaded, draft, optimizer, index, name, &mut found) {
                Some(target) => trained.push((optimizer, index, target)),
                None => continue,
            }
        }
    }
    let mirrored = mirrored(draft, &trained);
    for (optimizer, index, target) in trained {
        let Some(weights) = weights_port(&draft.nodes[target]) else { continue };
        let reached = mirrored.iter().any(|joint| joint.to.0 == target);
        // a loss that could not be read might have been what sends it back
        if !reached && draft.nodes.iter().all(|node| node.declared.is_some()) {
            found.push(no_gradient(loaded, draft, optimizer, index, target));
        }
        let port = mirrored_port(&draft.nodes[optimizer], index);
        if let Some(port) = port.filter(|_| reached) {
            draft.gradients.push(Joint {
                from: (target, weights),
                to: (optimizer, port),
                kind: EdgeKind::Gradient,
            });
        }
    }
    draft.gradients.splice(0..0, mirrored);
    draft.problems.extend(found);
}

fn weights_port(node: &DraftNode) -> Option<usize> {
    node.ports.inputs.iter().position(|port| port.feedback && port.name == "weights")
}

fn mirrored_port(node: &DraftNode, nth: usize) -> Option<usize> {
    node.ports.inputs.iter().enumerate().filter(|(_, port)| port.mirrored).map(|(port, _)| port).nth(nth)
}

/// The node that an optimizer trains, when it can: it has weights, and takes them from this optimizer.
fn trainable(
    loaded: &Loaded,
    draft: &Draft,
    optimizer: usize,
    index: usize,
    name: &str,
    found: &mut Vec<Diagnostic>,
) -> Option<usize> {
    let owner = draft.nodes[optimizer].name;
    let path = ["nodes", owner, "stage", "trains", &index.to_string()];
    if !loaded.sound(&path) {
        return None;
    }
    let problem = |what: String| Diagnostic::error(loaded.place(&path), what).node(owner).key("trains");
    let with_weights =
        || draft.nodes.iter().filter(|node| weights_port(node).is_some()).map(|node| node.name);
    let Some(target) = draft.nodes.iter().position(|node| node.name == name) else {
        let problem = problem(format!("no node `{name}` to train"));
        found.push(
            problem
                .expected(listing(with_weights()))
                .found(format!("`{name}`"))
                .nearest(name, with_weights()),
        );
        return None;
    };
    draft.nodes[target].declared.as_ref()?;
    let Some(weights) = weights_port(&draft.nodes[target]) else {
        let problem = problem(format!("`{name}` has no weights to train"));
        found.push(problem.expected(listing(with_weights())).found(format!("`{name}`")));
        return None;
    };
    let wire = draft.wires.iter().find(|wire| wire.node == target && wire.port == Some(weights))?;
    if wire.from.is_some_and(|from| from != optimizer) {
        let what = format!("`{owner}` trains `{name}`, which takes its weights from elsewhere");
        let problem = Diagnostic::error(wire.place.clone(), what).node(name).key("weights");
        let problem = problem.expected(format!("`{owner}/weights`")).found(format!("`{}`", wire.text));
        found.push(problem.also(loaded.place(&path), "trained here"));
        return None;
    }
    Some(target)
}

fn no_gradient(loaded: &Loaded, draft: &Draft, optimizer: usize, index: usize, target: usize) -> Diagnostic {
    let (owner, name) = (draft.nodes[optimizer].name, draft.nodes[target].name);
    let place = loaded.place(&["nodes", owner, "stage", "trains", &index.to_string()]);
    Diagnostic::error(place, format!("`{owner}` trains `{name}`, but no gradient reaches it"))
        .node(owner)
        .key("trains")
        .expected("a loss that takes its outputs")
        .found("none")
}

/// For each ordinary wire into a differentiable input whose producer leads to something trained: its mirror.
fn mirrored(draft: &Draft, trained: &[(usize, usize, usize)]) -> Vec<Joint> {
    let mut leads: Vec<usize> = trained.iter().map(|(.., target)| *target).collect();
    let mut out: Vec<Joint> = Vec::new();
    // a node passes a gradient on when one of its own differentiable inputs leads to something trained
    loop {
        let before = out.len();
        for wire in draft.wires.iter().filter(|wire| !wire.feedback) {
            let (Some(from), Some(from_port), Some(port)) = (wire.from, wire.from_port, wire.port) else {
                continue;
            };
            let differentiable = draft.nodes[wire.node].ports.inputs[port].differentiable;
            let mirror = Joint { from: (wire.node, port), to: (from, from_port), kind: EdgeKind::Gradient };
            if differentiable && leads.contains(&from) && !out.contains(&mirror) {
                out.push(mirror);
                leads.push(wire.node);
            }
        }
        if out.len() == before {
            break;
        }
    }
    // in the order of the wires that they mirror
    let place = |joint: &Joint| {
        draft.wires.iter().position(|w| (w.node, w.port) == (joint.from.0, Some(joint.from.1)))
    };
    out.sort_by_key(place);
    out
}
