//! Judges a loaded graph: everything that is wrong, at once, and what can be told of the rest.

mod keys;
mod roles;
mod types;
mod wires;

use std::path::Path as FilePath;

use super::load::Loaded;
use super::origin::Place;
use super::problem::{Diagnostic, Severity};
use super::read::name;
use super::spec::{GraphSpec, NodeSpec};
use super::tree::Path;
use crate::plan::actors::{self, Net};
use crate::plan::{Actor, BatchPlan, EdgeKind, Phase};
use crate::stages::declare::Fault;
use crate::stages::registry::Declared;
use crate::stages::{EdgeType, Port, Ports, Problem, Registry, Role, Scope};

/// What is known of a graph, right or wrong: what a picture of it shows, and what a plan is made of.
pub struct Draft<'g> {
    pub graph: &'g GraphSpec,
    pub nodes: Vec<DraftNode<'g>>,
    /// Wires as the file writes them.
    pub wires: Vec<Wire>,
    /// Gradient wires, which the plan adds.
    pub gradients: Vec<Joint>,
    /// The island's phases, unless a cycle forbids them.
    pub phases: Vec<Phase>,
    /// Nodes in an order in which every ordinary wire goes forward; without those on a cycle.
    pub order: Vec<usize>,
    pub batch: BatchPlan,
    pub steps_per_epoch: Option<u64>,
    /// The start of the graph's text, for what has no better place.
    pub start: Place,
    /// Errors first, each kind in the order of the texts.
    pub problems: Vec<Diagnostic>,
}

/// A node of a draft.
pub struct DraftNode<'g> {
    pub name: &'g str,
    pub spec: &'g NodeSpec,
    /// None where the stage can't be told.
    pub declared: Option<Declared<'g>>,
    pub ports: Ports,
    /// Images of a source, where they are known without opening any.
    pub images: Option<usize>,
    /// The type of each output, as this node makes it.
    pub outputs: Vec<Option<EdgeType>>,
}

/// A wire of the file, perhaps with ends that are not there.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The consumer, and its port where it has one of that name.
    pub node: usize,
    pub port: Option<usize>,
    pub port_name: String,
    /// `producer/port` as written.
    pub text: String,
    pub feedback: bool,
    pub from: Option<usize>,
    pub from_port: Option<usize>,
    /// Where the producer is written.
    pub place: Place,
}

/// Two ports that a wire joins: (node, port) each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joint {
    pub from: (usize, usize),
    pub to: (usize, usize),
    pub kind: EdgeKind,
}

impl Draft<'_> {
    /// Whether there is an error, and not only notes.
    pub fn refused(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The wires whose ends are both there, in the file's order, then the gradient wires.
    pub fn joints(&self) -> Vec<Joint> {
        self.wires.iter().filter_map(Wire::joint).chain(self.gradients.iter().copied()).collect()
    }

    /// The types at a node's inputs, as the node sees them.
    pub fn arriving(&self, node: usize) -> Vec<Option<EdgeType>> {
        types::arriving(self, node)
    }

    /// What stages may ask about the graph.
    pub fn scope(&self) -> Scope<'_> {
        Scope {
            graph: self.graph,
            global_batch: self.batch.global,
            micro_batch: self.batch.micro,
            steps_per_epoch: self.steps_per_epoch,
        }
    }
}

impl Wire {
    fn joint(&self) -> Option<Joint> {
        let kind = if self.feedback { EdgeKind::Feedback } else { EdgeKind::Forward };
        Some(Joint { from: (self.from?, self.from_port?), to: (self.node, self.port?), kind })
    }
}

impl DraftNode<'_> {
    pub fn role(&self) -> Option<Role> {
        self.declared.as_ref().map(|declared| declared.role())
    }

    fn port<'p>(ports: &'p [Port], name: &str) -> Option<(usize, &'p Port)> {
        ports.iter().enumerate().find(|(_, port)| port.name == name && !port.mirrored)
    }
}

/// Judges a graph. None when its text could not be made out at all; [`Loaded::problems`] says why.
pub fn check<'g>(loaded: &'g Loaded, registry: &Registry) -> Option<Draft<'g>> {
    let graph = loaded.spec.as_ref()?;
    let mut problems = loaded.problems.clone();
    let batch = keys::batch(graph);
    let nodes = roles::nodes(loaded, graph, registry, &mut problems);
    let steps_per_epoch = keys::steps_per_epoch(&nodes, batch);
    let mut draft = Draft {
        graph,
        nodes,
        wires: Vec::new(),
        gradients: Vec::new(),
        phases: Vec::new(),
        order: Vec::new(),
        batch,
        steps_per_epoch,
        start: loaded.tree.at.clone(),
        problems,
    };
    keys::judge(loaded, &mut draft);
    roles::judge(loaded, &mut draft);
    wires::resolve(loaded, &mut draft);
    wires::mirror(loaded, &mut draft);
    order(loaded, &mut draft);
    stages(loaded, &mut draft);
    types::infer(loaded, &mut draft);
    draft.problems.sort_by_key(Diagnostic::order);
    draft.problems.dedup();
    Some(draft)
}

/// Cycles, or else the order of firing.
fn order(loaded: &Loaded, draft: &mut Draft) {
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
    let on_cycle =
        |wire: &&Wire| !wire.feedback && wire.from.is_some_and(|from| steps.contains(&(from, wire.node)));
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
    let who = super::problem::listing(names.iter().copied());
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

/// What the stages say of their own parameters.
fn stages(loaded: &Loaded, draft: &mut Draft) {
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

/// A stage's problem at its place in the text; none when it concerns a value that could not be read.
fn blame(loaded: &Loaded, draft: &Draft, node: &str, problem: Problem) -> Option<Diagnostic> {
    let Problem { at, found, expected, help, severity } = problem;
    let (path, what, place): (Path, String, Place) = match &at {
        Fault::Parameter(parameter) => {
            let mut path: Path = vec!["nodes".into(), node.into(), "stage".into()];
            path.extend(parameter.split('.').map(str::to_owned));
            let place = loaded.place(&path);
            (path, format!("`{parameter}` of `{node}` does not fit"), place)
        }
        Fault::Graph(key) => {
            let path: Path = key.split('.').map(str::to_owned).collect();
            let place = loaded.place(&path);
            (path, format!("`{key}` does not fit `{node}`"), place)
        }
        Fault::Input(port) => {
            let index = draft.nodes.iter().position(|own| own.name == node)?;
            let wire = draft.wires.iter().find(|wire| wire.node == index && wire.port_name == *port);
            let path: Path = vec!["nodes".into(), node.into(), "inputs".into(), port.clone()];
            let place = wire.map_or_else(|| loaded.place(&path), |wire| wire.place.clone());
            let from = wire.map(|wire| format!(", from `{}`", wire.text)).unwrap_or_default();
            (path, format!("what arrives at `{node}/{port}`{from}, does not fit"), place)
        }
    };
    if !loaded.sound(&path) {
        return None;
    }
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
