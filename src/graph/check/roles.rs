//! The nodes' stages: known ones, of the role that their place calls for.

use super::{Draft, DraftNode};
use crate::data::source::{Images, List};
use crate::graph::edit::KEYS;
use crate::graph::load::Loaded;
use crate::graph::origin::Place;
use crate::graph::preset;
use crate::graph::problem::{Diagnostic, listing};
use crate::graph::read::read;
use crate::graph::spec::GraphSpec;
use crate::stages::registry::{Declared, Unknown};
use crate::stages::{Declare, Registry, Role, StageSpec};

/// The nodes with what their stages declare. A stage of the wrong role declares nothing: what follows from it would only
/// hide the cause.
pub fn nodes<'g>(
    loaded: &Loaded,
    graph: &'g GraphSpec,
    registry: &Registry,
    problems: &mut Vec<Diagnostic>,
) -> Vec<DraftNode<'g>> {
    let mut nodes = Vec::new();
    for (name, spec) in &graph.nodes {
        let readable = loaded.sound(&["nodes", name, "stage"])
            || loaded.stand_ins.iter().any(|path| path.len() > 3 && path[1] == *name);
        let mut declared = None;
        if readable {
            match spec.stage.declaration(registry) {
                Ok(found) => match wrong_role(loaded, registry, name, &spec.stage, &found) {
                    None => declared = Some(found),
                    Some(problem) => problems.push(problem),
                },
                Err(unknown) => problems.push(unregistered(loaded, registry, name, &spec.stage, unknown)),
            }
        }
        let ports = declared.as_ref().map(|declared| declared.ports()).unwrap_or_default();
        let outputs = vec![None; ports.outputs.len()];
        let known = declared.as_ref().filter(|_| loaded.sound(&["nodes", name, "stage"]));
        let images = known.and_then(|declared| images(&spec.stage, &**declared));
        nodes.push(DraftNode { name, spec, declared, ports, images, outputs });
    }
    nodes
}

/// Images of a source that states their number, or whose list is there to be counted.
fn images(stage: &StageSpec, declared: &dyn Declare) -> Option<usize> {
    match stage {
        StageSpec::List(list) => List::open(list).ok().map(|list| list.len()),
        _ => declared.images(),
    }
}

fn unregistered(
    loaded: &Loaded,
    registry: &Registry,
    name: &str,
    stage: &StageSpec,
    why: Unknown,
) -> Diagnostic {
    let kind = stage.kind();
    let key = if why == Unknown::Kind { "kind" } else { "with" };
    let place = loaded.place(&["nodes", name, "stage", key]);
    let out = Diagnostic::error(place, format!("custom stage `{kind}`: {why}")).node(name).key(key);
    match why {
        Unknown::Kind => out
            .expected(match registry.kinds().next() {
                Some(_) => listing(registry.kinds()),
                None => "a registered kind, of which this program has none".into(),
            })
            .found(format!("`{kind}`"))
            .nearest(kind, registry.kinds())
            .help("stages of other crates are registered in a program of one's own: dinoflow::main_with(registry)"),
        Unknown::Parameters(text) => out.expected("parameters that the stage takes").found(text),
    }
}

/// A stage that is not of the role which its swap, its preset's folder or its node's name calls for.
fn wrong_role(
    loaded: &Loaded,
    registry: &Registry,
    name: &str,
    stage: &StageSpec,
    declared: &Declared,
) -> Option<Diagnostic> {
    let role = declared.role();
    let refuse = |place: Place, expected: String| {
        Some(
            Diagnostic::error(place, format!("a stage of another role in `{name}`"))
                .node(name)
                .key("stage")
                .expected(expected)
                .found(format!("{}, a stage of role `{}`", stage.kind(), role.word())),
        )
    };
    if let Some((_, before, place)) = loaded.swapped.iter().find(|(node, ..)| node == name) {
        let before = read::<StageSpec>(before, Default::default()).value?;
        let before_role = before.declaration(registry).ok().map(|declared| declared.role());
        return match before_role {
            Some(old) if old != role => {
                refuse(place.clone(), format!("a stage of role `{}`, as {} is", old.word(), before.kind()))
            }
            _ => None,
        };
    }
    let preset = loaded.presets.iter().find(|(path, ..)| path[1..] == [name, "stage"]);
    if let Some((_, path, place)) = preset
        && let Some(folder) = preset::folder(path).and_then(Role::of).filter(|folder| *folder != role)
    {
        return refuse(place.clone(), format!("a stage of role `{}`, after its folder", folder.word()));
    }
    if let Some(named) = Role::of(name).filter(|named| *named != role) {
        let place = loaded.place(&["nodes", name, "stage"]);
        return refuse(place, format!("a stage of role `{}`, after its node's name", named.word()));
    }
    None
}

/// Names of nodes, roles that a graph needs, and what the optimizer trains.
pub fn judge(loaded: &Loaded, draft: &mut Draft) {
    let mut found = Vec::new();
    for node in &draft.nodes {
        found.extend(bad_name(loaded, node.name));
    }
    // a stage of another crate may stand for a source, and a node that could not be read may be anything
    let begins = |node: &DraftNode| node.ports.inputs.is_empty() && !node.ports.outputs.is_empty();
    let unknown = draft.nodes.iter().any(|node| node.declared.is_none());
    let fed = draft.nodes.iter().any(begins);
    for (role, most) in [(Role::Source, 1), (Role::Optimizer, 1), (Role::Checkpoint, 1)] {
        let of_role: Vec<&str> = draft
            .nodes
            .iter()
            .filter(|node| node.role().as_ref() == Some(&role))
            .map(|node| node.name)
            .collect();
        let needed = role == Role::Optimizer || (role == Role::Source && !fed);
        if of_role.is_empty() && needed && !unknown && loaded.sound(&["nodes"]) {
            let place = loaded.tree.key_place(&["nodes"]).clone();
            let problem = Diagnostic::error(place, format!("no node of role `{}`", role.word()));
            let see = format!("see `dinoflow stages {}`", role.word());
            found.push(
                problem
                    .key("nodes")
                    .expected("one, for there is nothing to train otherwise")
                    .found("none")
                    .help(see),
            );
        }
        for second in of_role.iter().skip(most) {
            let place = loaded.tree.key_place(&["nodes", second]).clone();
            let problem = Diagnostic::error(place, format!("a second node of role `{}`", role.word()));
            found.push(problem.node(*second).expected("one").found(listing(of_role.iter().copied())));
        }
    }
    draft.problems.extend(found);
}

fn bad_name(loaded: &Loaded, name: &str) -> Option<Diagnostic> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let taken = KEYS.contains(&name);
    if !taken && !name.is_empty() && name.len() <= 64 && name.chars().all(plain) {
        return None;
    }
    let place = loaded.tree.key_place(&["nodes", name]).clone();
    let expected = match taken {
        true => "a name that is not a key of the graph",
        false => "at most 64 letters, digits, `_` or `-`",
    };
    Some(
        Diagnostic::error(place, format!("no name for a node: {name:?}"))
            .node(name)
            .expected(expected)
            .found(name),
    )
}
