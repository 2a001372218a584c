//! What differs between two graphs, as a picture of both.

use super::picture::{Line, Node, Picture, State};
use crate::plan::EdgeKind;

/// The picture of `after` with what changed since `before`: nodes and wires added, removed and changed, parameters with
/// both values, and the graph's own keys as remarks.
pub fn diff(before: &Picture, after: &Picture) -> Picture {
    let mut nodes: Vec<Node> = after.nodes.iter().map(|node| compared(before, node)).collect();
    for gone in before.nodes.iter().filter(|node| after.nodes.iter().all(|other| other.name != node.name)) {
        nodes.push(Node { state: State::Removed, ..gone.clone() });
    }
    let same = |a: &Line, b: &Line| {
        (&a.from, &a.from_port, &a.to, &a.to_port, a.kind)
            == (&b.from, &b.from_port, &b.to, &b.to_port, b.kind)
    };
    let mut wires = Vec::new();
    for wire in &after.wires {
        let was = before.wires.iter().find(|other| same(wire, other));
        let (state, ty) = match was {
            None => (State::Added, wire.ty.clone()),
            Some(was) if was.ty != wire.ty => (State::Changed, format!("{} → {}", was.ty, wire.ty)),
            Some(_) => (wire.state, wire.ty.clone()),
        };
        wires.push(Line { state, ty, ..wire.clone() });
    }
    for gone in before.wires.iter().filter(|wire| after.wires.iter().all(|other| !same(wire, other))) {
        wires.push(Line { state: State::Removed, ..gone.clone() });
    }
    let changed = changed(&before.keys, &after.keys).into_iter();
    let mut remarks: Vec<(State, String)> = changed.map(|line| (State::Changed, line)).collect();
    remarks.extend(after.remarks.iter().cloned());
    Picture {
        title: format!("{}, against {}", after.title, before.title),
        keys: after.keys.clone(),
        nodes,
        wires,
        remarks,
    }
}

/// What differs in a picture that [`diff`] made, a line each.
pub fn changes(difference: &Picture) -> Vec<String> {
    let state = |state: State| match state {
        State::Added => Some("added"),
        State::Removed => Some("left out"),
        _ => None,
    };
    let mut lines: Vec<String> = Vec::new();
    for node in &difference.nodes {
        match state(node.state) {
            Some(word) => lines.push(format!("{}: {word} ({})", node.name, node.kind)),
            None if node.state == State::Changed => {
                lines.extend(node.details.iter().map(|detail| format!("{}: {detail}", node.name)));
            }
            None => {}
        }
    }
    for wire in difference.wires.iter().filter(|wire| wire.kind != EdgeKind::Gradient) {
        if let Some(word) = state(wire.state) {
            let (from, to) =
                (format!("{}/{}", wire.from, wire.from_port), format!("{}/{}", wire.to, wire.to_port));
            lines.push(format!("wire {from} to {to}: {word}"));
        }
    }
    let keys = difference.remarks.iter().filter(|(state, _)| *state == State::Changed);
    lines.extend(keys.map(|(_, line)| line.clone()));
    lines
}

fn compared(before: &Picture, node: &Node) -> Node {
    let Some(was) = before.nodes.iter().find(|other| other.name == node.name) else {
        return Node { state: State::Added, ..node.clone() };
    };
    let mut details = Vec::new();
    if was.kind != node.kind {
        details.push(format!("{} → {}", was.kind, node.kind));
    } else {
        details.extend(changed(&was.parameters, &node.parameters));
    }
    match details.is_empty() {
        true => node.clone(),
        false => Node { state: State::Changed, details, ..node.clone() },
    }
}

/// `key: before → after` for every value that is not the same.
fn changed(before: &[(String, String)], after: &[(String, String)]) -> Vec<String> {
    let find = |values: &[(String, String)], key: &str| {
        values.iter().find(|(other, _)| other == key).map_or("nothing".into(), |(_, value)| value.clone())
    };
    let mut keys: Vec<&String> = after.iter().map(|(key, _)| key).collect();
    keys.extend(before.iter().map(|(key, _)| key).filter(|key| after.iter().all(|(other, _)| other != *key)));
    keys.into_iter()
        .map(|key| (key, find(before, key), find(after, key)))
        .filter(|(_, was, is)| was != is)
        .map(|(key, was, is)| format!("{key}: {was} → {is}"))
        .collect()
}
