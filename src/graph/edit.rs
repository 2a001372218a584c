//! `--without`, `--swap` and `--set`: edits of the tree, so that what they bring is read and judged like the file's own text.

use std::path::PathBuf;

use super::load::{Loaded, preset_tree};
use super::origin::{OriginId, Place};
use super::parse::{parse, parse_from};
use super::problem::{Diagnostic, listing};
use super::read::read;
use super::spec::GraphSpec;
use super::tree::{Body, Field, Path, Tree, Value};
use super::write;

/// A graph's own keys; everything else that a `--set` path starts with is a node.
pub const KEYS: [&str; 11] = [
    "name",
    "seed",
    "device",
    "precision",
    "tf32",
    "global_batch",
    "micro_batch",
    "duration",
    "on_collapse",
    "network",
    "nodes",
];

/// What stands beside a stage in its node.
const NODE_KEYS: [&str; 3] = ["stage", "inputs", "feedback"];

/// One step of a `--set` path with its place in the argument.
type Step = (String, Place);

/// Applies `NODE`: takes it away, whatever it holds. Wires that began there lead nowhere now, which the check tells.
pub fn leave_out(loaded: &mut Loaded, name: &str) {
    let origin = loaded.origins.add("--without", name);
    let place = Place { origin, span: 0..name.len() };
    let Some(Value::Map(nodes)) = loaded.tree.child_mut("nodes").map(|nodes| &mut nodes.value) else {
        return;
    };
    let before = nodes.len();
    nodes.retain(|(key, _)| !matches!(&key.value, Value::Str(own) if own == name));
    if nodes.len() == before {
        let problem = unknown_node(loaded, name, place);
        loaded.problems.push(problem);
    } else {
        loaded.left_out.push((name.into(), place));
    }
}

/// Applies `NODE=PRESET` or `NODE=RON`.
pub fn swap(loaded: &mut Loaded, argument: &str) {
    if let Err(problem) = try_swap(loaded, argument) {
        loaded.problems.push(*problem);
    }
}

/// Applies `PATH=VALUE`.
pub fn set(loaded: &mut Loaded, argument: &str) {
    if let Err(problem) = try_set(loaded, argument) {
        loaded.problems.push(*problem);
    }
}

type Edited<T = ()> = Result<T, Box<Diagnostic>>;

/// Splits an argument at its first `=`: the origin, the left side, and where the right side starts.
fn split(loaded: &mut Loaded, option: &str, argument: &str, form: &str) -> Edited<(OriginId, usize)> {
    let id = loaded.origins.add(option, argument);
    match argument.find('=') {
        Some(at) => Ok((id, at)),
        None => {
            let place = Place { origin: id, span: 0..argument.len() };
            let problem = Diagnostic::error(place, format!("{option} takes {form}"));
            Err(Box::new(problem.expected(form).found(format!("`{argument}` without `=`"))))
        }
    }
}

fn try_swap(loaded: &mut Loaded, argument: &str) -> Edited {
    let (id, equals) = split(loaded, "--swap", argument, "NODE=PRESET or NODE=RON")?;
    let (name, value) = (argument[..equals].trim(), argument[equals + 1..].trim());
    let here = Place { origin: id, span: 0..equals };
    let path: Path = vec!["nodes".into(), name.into(), "stage".into()];
    if loaded.tree.find(&path[..2]).is_none() {
        return Err(Box::new(unknown_node(loaded, name, here)));
    }
    let value_at = Place { origin: id, span: equals + 1..argument.len() };
    let stage = if value.ends_with(".ron") || value.starts_with('"') {
        preset_tree(loaded, value.trim_matches('"'), &value_at, &[PathBuf::new()])
            .map_err(|problem| Box::new(problem.node(name)))?
    } else {
        parse_from(argument, equals + 1, id).map_err(|problem| Box::new(problem.node(name)))?
    };
    loaded.stand_ins.retain(|stand_in| !stand_in.starts_with(&path));
    let target = path.iter().try_fold(&mut loaded.tree, |tree, step| tree.child_mut(step));
    match target {
        Some(target) => {
            let before = std::mem::replace(target, stage);
            loaded.swapped.push((name.into(), before, value_at));
        }
        None => insert(&mut loaded.tree, &path[..2], "stage", &here, stage)?,
    }
    Ok(())
}

fn unknown_node(loaded: &Loaded, name: &str, at: Place) -> Diagnostic {
    let nodes = node_names(&loaded.tree);
    let problem = Diagnostic::error(at, format!("no node `{name}`"))
        .expected(listing(nodes.iter().map(String::as_str)))
        .found(format!("`{name}`"));
    match loaded.left_out.iter().find(|(left_out, _)| left_out == name) {
        Some((_, place)) => problem.also(place.clone(), "left out here"),
        None => problem.nearest(name, nodes.iter().map(String::as_str)),
    }
}

/// The names of a graph's nodes as written.
pub fn node_names(tree: &Tree) -> Vec<String> {
    let Some(Value::Map(nodes)) = tree.child("nodes").map(|nodes| &nodes.value) else { return Vec::new() };
    let name = |key: &Tree| match &key.value {
        Value::Str(name) => Some(name.clone()),
        _ => None,
    };
    nodes.iter().filter_map(|(key, _)| name(key)).collect()
}

fn try_set(loaded: &mut Loaded, argument: &str) -> Edited {
    let (id, equals) = split(loaded, "--set", argument, "PATH=VALUE")?;
    let steps = resolve(loaded, &argument[..equals], id)?;
    let value = parse_from(argument, equals + 1, id)
        .map_err(|problem| Box::new(problem.help("text and paths stand in quotes: --set 'name=\"try\"'")))?;
    let path: Path = steps.iter().map(|(step, _)| step.clone()).collect();
    loaded.stand_ins.retain(|stand_in| !stand_in.starts_with(&path));
    if let [nodes, name] = &path[..]
        && nodes == "nodes"
    {
        // nothing is left of the node that stood there, nor of what was put in its place
        loaded.presets.retain(|(preset, ..)| !preset.starts_with(&path));
        loaded.swapped.retain(|(node, ..)| node != name);
    }
    let Some(((last, last_at), parents)) = steps.split_last() else { return Ok(()) };
    fill_in(loaded, parents)?;
    let parents: Path = parents.iter().map(|(step, _)| step.clone()).collect();
    insert(&mut loaded.tree, &parents, last, last_at, value)
}

/// The steps of a path as written: `optimizer.lr` is `nodes.optimizer.stage.lr`, and `nodes.predictor` a whole node.
fn resolve(loaded: &Loaded, path: &str, id: OriginId) -> Edited<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut at = 0;
    for step in path.split('.') {
        let span = at..at + step.len();
        at = span.end + 1;
        steps.push((step.trim().to_owned(), Place { origin: id, span }));
    }
    if steps[0].0 == "nodes" && steps.len() == 2 {
        // a whole node, in another's place or a new one
        return Ok(steps);
    }
    let first = steps[0].clone();
    let nodes = node_names(&loaded.tree);
    if !KEYS.contains(&first.0.as_str()) {
        if !nodes.contains(&first.0) {
            let known = || KEYS.into_iter().chain(nodes.iter().map(String::as_str));
            let problem = Diagnostic::error(first.1, format!("no key or node `{}`", first.0))
                .expected(listing(known()))
                .found(format!("`{}`", first.0))
                .nearest(&first.0, known());
            return Err(Box::new(problem));
        }
        steps.insert(0, ("nodes".into(), first.1.clone()));
    }
    if steps[0].0 == "nodes" && steps.len() > 1 {
        if !nodes.contains(&steps[1].0) {
            return Err(Box::new(unknown_node(loaded, &steps[1].0, steps[1].1.clone())));
        }
        if steps.len() == 2 {
            let problem = Diagnostic::error(steps[1].1.clone(), "a node is set by one of its parameters")
                .expected(format!("{}.PARAMETER=VALUE", steps[1].0))
                .found(path)
                .help(format!(
                    "to replace its stage: --swap {0}=…; the whole node: --set 'nodes.{0}=(stage: …, inputs: {{…}})'",
                    steps[1].0
                ));
            return Err(Box::new(problem));
        }
        if !NODE_KEYS.contains(&steps[2].0.as_str()) {
            steps.insert(2, ("stage".into(), steps[1].1.clone()));
        }
    }
    Ok(steps)
}

/// Writes out the defaults that lie on the way to a value, so that a part of one can be set.
fn fill_in(loaded: &mut Loaded, parents: &[Step]) -> Edited {
    for depth in 1..=parents.len() {
        let path: Path = parents[..depth].iter().map(|(step, _)| step.clone()).collect();
        if loaded.tree.find(&path).is_some() {
            continue;
        }
        let (step, at) = &parents[depth - 1];
        let default = match (depth, step.as_str()) {
            // wires have no default, but a map of none can be added to
            (3, "inputs" | "feedback") => Some(Tree { value: Value::Map(Vec::new()), at: at.clone() }),
            _ => defaults(loaded).and_then(|resolved| resolved.find(&path).cloned()),
        };
        let Some(mut default) = default else {
            let around = loaded.tree.find(&path[..depth - 1]);
            let known: Vec<String> = defaults(loaded)
                .and_then(|tree| tree.find(&path[..depth - 1]).cloned())
                .or_else(|| around.cloned())
                .map(|tree| tree.fields().iter().map(|field| field.key.clone()).collect())
                .unwrap_or_default();
            let known = || known.iter().map(String::as_str);
            let problem = Diagnostic::error(at.clone(), format!("no key `{step}` here"))
                .expected(listing(known()))
                .found(format!("`{step}`"))
                .nearest(step, known());
            return Err(Box::new(problem));
        };
        relocate(&mut default, at);
        insert(&mut loaded.tree, &path[..depth - 1], step, at, default)?;
    }
    Ok(())
}

/// The graph with its defaults written out.
fn defaults(loaded: &Loaded) -> Option<Tree> {
    let spec = read::<GraphSpec>(&loaded.tree, loaded.stand_ins.clone()).value?;
    let text = write::to_ron(&spec).ok()?;
    let mut scratch = super::origin::Origins::default();
    let id = scratch.add("", text.clone());
    parse(&text, id).ok()
}

/// Puts a value at a key of what lies at a path.
fn insert(tree: &mut Tree, parents: &[String], key: &str, key_at: &Place, value: Tree) -> Edited {
    let Some(parent) = parents.iter().try_fold(tree, |tree, step| tree.child_mut(step)) else {
        return Err(Box::new(no_parts(key_at, key)));
    };
    put(parent, key, key_at, value)
}

fn put(parent: &mut Tree, key: &str, key_at: &Place, value: Tree) -> Edited {
    if let Some(child) = parent.child_mut(key) {
        *child = value;
        return Ok(());
    }
    let field = |value| Field { key: key.into(), key_at: key_at.clone(), value, comment: String::new() };
    match &mut parent.value {
        Value::Map(entries) => {
            entries.push((Tree { value: Value::Str(key.into()), at: key_at.clone() }, value));
        }
        Value::Shape { body: Body::Fields(fields), .. } => fields.push(field(value)),
        Value::Shape { body: Body::Tuple(items), .. } if items.len() == 1 => {
            return put(&mut items[0], key, key_at, value);
        }
        Value::Shape { body: Body::Tuple(items), .. } if !items.is_empty() => {
            return Err(Box::new(no_parts(key_at, key)));
        }
        Value::Shape { body, .. } => *body = Body::Fields(vec![field(value)]),
        _ => return Err(Box::new(no_parts(key_at, key).found(parent.to_ron()))),
    }
    Ok(())
}

fn no_parts(at: &Place, key: &str) -> Diagnostic {
    Diagnostic::error(at.clone(), format!("there is no part `{key}` to set here"))
        .expected("a path through named fields, or positions that exist")
}

/// Lets a value that was not written stand where the argument that called for it does.
fn relocate(tree: &mut Tree, at: &Place) {
    tree.at = at.clone();
    match &mut tree.value {
        Value::List(items) | Value::Shape { body: Body::Tuple(items), .. } => {
            items.iter_mut().for_each(|item| relocate(item, at));
        }
        Value::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
            relocate(key, at);
            relocate(value, at);
        }),
        Value::Shape { body: Body::Fields(fields), .. } => fields.iter_mut().for_each(|field| {
            field.key_at = at.clone();
            relocate(&mut field.value, at);
        }),
        _ => {}
    }
    if let Value::Shape { name: Some(name), .. } = &mut tree.value {
        name.at = at.clone();
    }
}
