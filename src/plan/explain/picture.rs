//! What a picture of a graph shows, right or wrong: one value, which DOT, Mermaid, SVG and JSON all draw.

use super::values::{keys, parameters};
use super::words;
use crate::graph::check::{Draft, DraftNode, Wire};
use crate::graph::problem::Severity;
use crate::plan::{EdgeKind, Place};
use crate::stages::{EdgeType, Given, Rate, Role};

/// A graph as it is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub title: String,
    /// Keys of the graph itself with their values, for comparing.
    pub keys: Vec<(String, String)>,
    pub nodes: Vec<Node>,
    pub wires: Vec<Line>,
    /// What is wrong with the graph, or what differs in its own keys: lines below the title.
    pub remarks: Vec<(State, String)>,
}

/// A node as it is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub name: String,
    /// The stage's name; empty where it can't be told.
    pub kind: String,
    pub shape: Outline,
    pub place: Cluster,
    /// Lines below the name.
    pub details: Vec<String>,
    /// Every parameter with its value, for comparing.
    pub parameters: Vec<(String, String)>,
    pub state: State,
    /// What was measured of it, where anything was.
    pub load: Option<Load>,
}

/// How much a node of a run had to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// The part of the run's time that it took, 0 to 1.
    pub share: f64,
    /// Whether the others waited for it.
    pub bottleneck: bool,
}

/// A wire as it is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Names of nodes.
    pub from: String,
    pub to: String,
    pub from_port: String,
    pub to_port: String,
    pub kind: EdgeKind,
    /// What it carries, with its shape; empty where it can't be told.
    pub ty: String,
    pub state: State,
    /// What was measured of it, a line of its label; empty where nothing was.
    pub note: String,
}

/// How a part stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Plain,
    /// Should be there, or leads to nothing.
    Missing,
    Added,
    Removed,
    Changed,
}

/// Who runs a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cluster {
    Host,
    Island,
    Barrier,
    /// Not known.
    None,
}

/// A node's shape, which tells its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outline {
    /// A source, a checkpoint.
    Cylinder,
    /// What is done to pictures.
    Slanted,
    /// A network.
    Hexagon,
    /// Targets.
    Ellipse,
    /// A loss.
    Octagon,
    /// An owner of weights.
    House,
    /// An evaluation.
    Note,
    /// Anything else.
    Box,
}

impl Cluster {
    /// The cluster's title.
    pub fn title(self) -> &'static str {
        match self {
            Cluster::Host => "host threads",
            Cluster::Island => "island: one thread, one device",
            Cluster::Barrier => "between steps",
            Cluster::None => "",
        }
    }
}

impl Outline {
    fn of(role: Option<&Role>) -> Outline {
        match role {
            Some(Role::Source | Role::Checkpoint) => Outline::Cylinder,
            Some(Role::Decode | Role::MultiCrop | Role::Collate) => Outline::Slanted,
            Some(Role::Student | Role::Teacher | Role::Predictor) => Outline::Hexagon,
            Some(Role::Center) => Outline::Ellipse,
            Some(Role::Loss) => Outline::Octagon,
            Some(Role::Optimizer | Role::Ema) => Outline::House,
            Some(Role::Knn | Role::Attention) => Outline::Note,
            Some(Role::Other(_)) | None => Outline::Box,
        }
    }
}

impl Line {
    /// The wire's label: ports, and what it carries below them.
    pub fn label(&self) -> Vec<String> {
        let ports = match self.kind {
            EdgeKind::Gradient if self.ty == EdgeType::Gradients.to_string() => return vec![self.ty.clone()],
            EdgeKind::Gradient => return vec![format!("∂ {}", self.to_port)],
            _ if self.from_port == self.to_port => self.from_port.clone(),
            _ => format!("{} → {}", self.from_port, self.to_port),
        };
        let says_more = !self.ty.is_empty() && !ports.contains(self.ty.trim_end_matches('s'));
        let note = Some(self.note.clone()).filter(|note| !note.is_empty());
        std::iter::once(ports).chain(says_more.then(|| self.ty.clone())).chain(note).collect()
    }
}

/// The picture of a graph.
pub fn picture(draft: &Draft) -> Picture {
    let mut nodes: Vec<Node> = (0..draft.nodes.len()).map(|index| node(draft, index)).collect();
    let mut wires: Vec<Line> = Vec::new();
    for wire in draft.wires.iter().filter(|wire| !wire.ignored) {
        wires.push(line(draft, wire, &mut nodes));
    }
    for joint in &draft.gradients {
        let (from, to) = (&draft.nodes[joint.from.0], &draft.nodes[joint.to.0]);
        let own = to.ports.inputs.get(joint.to.1).is_some_and(|port| port.mirrored);
        let ty = match own {
            true => Some(EdgeType::Gradients),
            false => draft.arriving(joint.from.0)[joint.from.1].clone(),
        };
        let port =
            if own { "gradients" } else { to.ports.outputs.get(joint.to.1).map_or("", |port| port.name) };
        wires.push(Line {
            from: from.name.into(),
            to: to.name.into(),
            from_port: from.ports.inputs[joint.from.1].name.into(),
            to_port: port.into(),
            kind: joint.kind,
            ty: ty.map(|ty| ty.to_string()).unwrap_or_default(),
            state: State::Plain,
            note: String::new(),
        });
    }
    unwired(draft, &mut nodes, &mut wires);
    let errors = draft.problems.iter().filter(|problem| problem.severity == Severity::Error);
    Picture {
        title: title(draft),
        keys: keys(draft),
        nodes,
        wires,
        remarks: errors.map(|problem| (State::Missing, problem.what.clone())).collect(),
    }
}

fn title(draft: &Draft) -> String {
    let backbone = &draft.graph.network.backbone;
    let batch = match draft.batch.micros() {
        1 => format!("batch {}", draft.batch.global),
        micros => format!("batch {} in {micros} micro-batches", draft.batch.global),
    };
    format!("{}: {}, {batch}", draft.graph.name, backbone.label())
}

fn node(draft: &Draft, index: usize) -> Node {
    let node = &draft.nodes[index];
    let faulty = |problem: &&crate::graph::problem::Diagnostic| {
        problem.severity == Severity::Error && problem.node.as_deref() == Some(node.name)
    };
    let wrong = node.declared.is_none() || draft.problems.iter().any(|problem| faulty(&problem));
    Node {
        name: node.name.into(),
        kind: if node.declared.is_some() { node.spec.stage.kind().into() } else { String::new() },
        shape: Outline::of(node.role().as_ref()),
        place: cluster(node),
        details: details(draft, index),
        parameters: parameters(node),
        state: if wrong { State::Missing } else { State::Plain },
        load: None,
    }
}

fn cluster(node: &DraftNode) -> Cluster {
    match &node.declared {
        None => Cluster::None,
        Some(declared) if declared.on_host() => Cluster::Host,
        Some(declared) if declared.rate() == Rate::Barrier => Cluster::Barrier,
        Some(_) => Cluster::Island,
    }
}

fn details(draft: &Draft, index: usize) -> Vec<String> {
    let node = &draft.nodes[index];
    let Some(declared) = &node.declared else { return vec!["?".into()] };
    if draft.refused() {
        return Vec::new();
    }
    let arriving = draft.arriving(index);
    let given = Given(node.ports.inputs.iter().zip(&arriving).map(|(p, ty)| (p.name, ty.as_ref())).collect());
    let cost = declared.cost(&draft.scope(), &given);
    let mut lines = Vec::new();
    if cost.parameters > 0 {
        lines.push(format!("{:.1} M parameters", cost.parameters as f64 / 1e6));
    }
    if matches!(declared.role(), Role::Student | Role::Teacher | Role::Predictor) {
        lines.push(format!("{} a step", words::work(cost.flops)));
    }
    if declared.on_host() && declared.workers() != Some(1) {
        lines.push(words::place(Place::Host { workers: declared.workers() }));
    }
    lines
}

fn line(draft: &Draft, wire: &Wire, nodes: &mut Vec<Node>) -> Line {
    let consumer = &draft.nodes[wire.node];
    let (producer, output) = wire.text.split_once('/').unwrap_or((&wire.text, ""));
    if wire.from.is_none() {
        ghost(nodes, producer);
    }
    let ends = wire.from_port.is_some() && wire.port.is_some();
    let known = |node: usize| draft.nodes[node].declared.is_some();
    let lost = !ends && known(wire.node) && wire.from.is_none_or(known);
    let ty =
        wire.from.zip(wire.from_port).and_then(|(node, port)| draft.nodes[node].outputs.get(port)?.clone());
    let blamed = draft.problems.iter().any(|problem| {
        problem.severity == Severity::Error
            && problem.node.as_deref() == Some(consumer.name)
            && problem.place == wire.place
    });
    Line {
        from: producer.into(),
        to: consumer.name.into(),
        from_port: output.into(),
        to_port: wire.port_name.clone(),
        kind: if wire.feedback { EdgeKind::Feedback } else { EdgeKind::Forward },
        ty: ty.map(|ty| ty.to_string()).unwrap_or_default(),
        state: if lost || blamed { State::Missing } else { State::Plain },
        note: String::new(),
    }
}

/// A node that a wire names and nobody wrote.
fn ghost(nodes: &mut Vec<Node>, name: &str) {
    if nodes.iter().all(|node| node.name != name) {
        nodes.push(Node {
            name: name.into(),
            kind: String::new(),
            shape: Outline::Box,
            place: Cluster::None,
            details: vec!["not there".into()],
            parameters: Vec::new(),
            state: State::Missing,
            load: None,
        });
    }
}

/// Inputs that nothing is wired to, as wires from nowhere.
fn unwired(draft: &Draft, nodes: &mut Vec<Node>, wires: &mut Vec<Line>) {
    for (index, node) in draft.nodes.iter().enumerate() {
        for (port, declared) in node.ports.inputs.iter().enumerate() {
            let wired = draft.wires.iter().any(|wire| wire.node == index && wire.port == Some(port));
            if wired || !node.needs(declared) {
                continue;
            }
            let nowhere = format!("? {}", declared.name);
            ghost(nodes, &nowhere);
            if let Some(ghost) = nodes.iter_mut().find(|ghost| ghost.name == nowhere) {
                ghost.details = vec!["not wired".into()];
            }
            wires.push(Line {
                from: nowhere,
                to: node.name.into(),
                from_port: declared.name.into(),
                to_port: declared.name.into(),
                kind: if declared.feedback { EdgeKind::Feedback } else { EdgeKind::Forward },
                ty: String::new(),
                state: State::Missing,
                note: String::new(),
            });
        }
    }
}
