//! Gradient wires, which no file writes: they mirror the wires on the way from a loss to what an optimizer trains.

use super::{Draft, DraftNode, Joint, Wire};
use crate::graph::load::Loaded;
use crate::graph::problem::{Diagnostic, listing};
use crate::plan::EdgeKind;
use crate::stages::Role;

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
    found.extend(untrained(loaded, draft));
    let mirrored = mirrored(draft, &trained);
    for (optimizer, index, target) in trained {
        let Some(weights) = weights_port(&draft.nodes[target]) else { continue };
        let reached = mirrored.iter().any(|joint| joint.to.0 == target);
        // a loss that could not be read might have been what sends it back, and a wire without an end what carries it
        let known = draft.nodes.iter().all(|node| node.declared.is_some())
            && draft.wires.iter().all(|wire| wire.ignored || wire.joint().is_some());
        if !reached && known {
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
        let predictor = draft.nodes[target].role() == Some(Role::Predictor);
        found.push(elsewhere(loaded, wire, owner, (name, predictor), &path));
        return None;
    }
    Some(target)
}

/// Predictors that no optimizer names: nobody would own their weights.
fn untrained(loaded: &Loaded, draft: &Draft) -> Vec<Diagnostic> {
    let of_role = |role: Role| draft.nodes.iter().filter(move |node| node.role().as_ref() == Some(&role));
    // an optimizer that could not be read might have named them
    let sound = |node: &DraftNode| node.declared.is_some() && loaded.sound(&["nodes", node.name, "stage"]);
    if !draft.nodes.iter().filter(|node| node.role() != Some(Role::Predictor)).all(sound) {
        return Vec::new();
    }
    let names = |optimizer: &DraftNode, name: &str| {
        optimizer.declared.as_ref().is_some_and(|declared| declared.trains().iter().any(|own| own == name))
    };
    let Some(optimizer) = of_role(Role::Optimizer).next() else { return Vec::new() };
    let left = of_role(Role::Predictor).filter(|node| !of_role(Role::Optimizer).any(|o| names(o, node.name)));
    let problem = |node: &DraftNode| {
        let place = loaded.tree.key_place(&["nodes", node.name]).clone();
        Diagnostic::error(place, format!("no optimizer trains `{}`", node.name))
            .node(node.name)
            .expected(format!("`{}.trains` to name it", optimizer.name))
            .found("a predictor without an owner of its weights")
    };
    left.map(problem).collect()
}

fn elsewhere(
    loaded: &Loaded,
    wire: &Wire,
    owner: &str,
    (name, predictor): (&str, bool),
    path: &[&str],
) -> Diagnostic {
    let what = format!("`{owner}` trains `{name}`, which takes its weights from elsewhere");
    let output = if predictor { "predictor" } else { "weights" };
    Diagnostic::error(wire.place.clone(), what)
        .node(name)
        .key("weights")
        .expected(format!("`{owner}/{output}`"))
        .found(format!("`{}`", wire.text))
        .also(loaded.place(path), "trained here")
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
        for wire in draft.wires.iter().filter(|wire| !wire.feedback && !wire.ignored) {
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
