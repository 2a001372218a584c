//! What stages say of their own parameters and of what arrives at them, at its place in the text.

use std::path::Path as FilePath;

use super::Draft;
use crate::graph::load::Loaded;
use crate::graph::origin::Place;
use crate::graph::problem::Diagnostic;
use crate::graph::read::name;
use crate::graph::tree::Path;
use crate::stages::Problem;
use crate::stages::declare::Fault;

/// What the stages say of their own parameters.
pub fn judge(loaded: &Loaded, draft: &mut Draft) {
    let mut found = Vec::new();
    for node in &draft.nodes {
        let Some(declared) = &node.declared else { continue };
        for problem in declared.problems(&draft.scope()) {
            found.extend(blame(loaded, draft, node.name, problem));
        }
        for (key, path) in declared.reads() {
            found.extend(absent(loaded, node.name, &key, &path));
        }
    }
    draft.problems.extend(found);
}

/// Where in the graph something lies that a node's stage found wrong.
fn path(loaded: &Loaded, node: &str, at: &Fault) -> Path {
    // the parameters of a user's own stage stand one level deeper
    let stage = ["nodes", node, "stage", "with"];
    let depth = if loaded.tree.find(&stage).is_some() { 4 } else { 3 };
    let (start, rest): (&[&str], &str) = match at {
        Fault::Parameter(parameter) => (&stage[..depth], parameter),
        Fault::Input(port) => (&["nodes", node, "inputs"], port),
        Fault::Graph(key) => (&[], key),
    };
    start.iter().copied().chain(rest.split('.')).map(str::to_owned).collect()
}

/// A stage's problem at its place in the text; none when it concerns a value that could not be read, or was judged by one.
pub fn blame(loaded: &Loaded, draft: &Draft, node: &str, problem: Problem) -> Option<Diagnostic> {
    let Problem { at, found, expected, help, severity, by } = problem;
    let path = path(loaded, node, &at);
    if !loaded.sound(&path) || !by.iter().all(|other| loaded.sound(&self::path(loaded, node, other))) {
        return None;
    }
    let (what, place): (String, Place) = match &at {
        Fault::Parameter(parameter) => {
            (format!("`{parameter}` of `{node}` does not fit"), loaded.place(&path))
        }
        Fault::Graph(key) => (format!("`{key}` does not fit `{node}`"), loaded.place(&path)),
        Fault::Input(port) => {
            let index = draft.nodes.iter().position(|own| own.name == node)?;
            let wire = draft.wires.iter().find(|wire| wire.node == index && wire.port_name == *port);
            let place = wire.map_or_else(|| loaded.place(&path), |wire| wire.place.clone());
            let from = wire.map(|wire| format!(", from `{}`", wire.text)).unwrap_or_default();
            (format!("what arrives at `{node}/{port}`{from}, does not fit"), place)
        }
    };
    let written = matches!(at, Fault::Input(_)) || loaded.tree.find(&path).is_some();
    let found = if written { found } else { format!("{found}, the default") };
    let mut out = Diagnostic::error(place, what).node(node).expected(expected).found(found);
    out.key = match at {
        Fault::Input(port) => Some(port),
        _ => name(&path).1,
    };
    out.help = help;
    out.severity = severity;
    Some(out)
}

/// A note on data that is not there yet: `check` needs none, a run does.
fn absent(loaded: &Loaded, node: &str, key: &str, path: &FilePath) -> Option<Diagnostic> {
    if path.as_os_str().is_empty() || path.exists() {
        return None;
    }
    let mut at: Path = vec!["nodes".into(), node.into(), "stage".into()];
    at.extend(key.split('.').map(str::to_owned));
    loaded.sound(&at).then(|| {
        Diagnostic::error(loaded.place(&at), format!("{} is not there", path.display()))
            .node(node)
            .key(key)
            .expected("a path that exists by the time of the run, from the working directory")
            .found(format!("{}", path.display()))
            .as_note()
    })
}
