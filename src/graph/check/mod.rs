//! Judges a loaded graph: everything that is wrong, at once, and what can be told of the rest.

mod gradients;
mod keys;
mod order;
mod parameters;
mod roles;
mod types;
mod wires;

use super::load::Loaded;
use super::origin::Place;
use super::problem::{Diagnostic, Severity};
use super::spec::{GraphSpec, NodeSpec};
use crate::plan::{BatchPlan, EdgeKind, Phase};
use crate::stages::registry::Declared;
use crate::stages::{EdgeType, Port, Ports, Registry, Role, Scope, Use};

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
    /// Whether both ends are there and the consumer has no use for what arrives.
    pub ignored: bool,
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
    /// What it joins; none when an end is not there, or the consumer ignores it.
    fn joint(&self) -> Option<Joint> {
        if self.ignored {
            return None;
        }
        let kind = if self.feedback { EdgeKind::Feedback } else { EdgeKind::Forward };
        Some(Joint { from: (self.from?, self.from_port?), to: (self.node, self.port?), kind })
    }
}

impl DraftNode<'_> {
    pub fn role(&self) -> Option<Role> {
        self.declared.as_ref().map(|declared| declared.role())
    }

    /// Whether something must be wired to an input.
    pub fn needs(&self, port: &Port) -> bool {
        let used = self.declared.as_ref().map_or(Use::AsDeclared, |declared| declared.uses(port.name));
        !port.mirrored && (!port.optional || used == Use::Needed)
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
    let steps_per_epoch = keys::steps_per_epoch(loaded, &nodes, batch);
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
    gradients::mirror(loaded, &mut draft);
    order::order(loaded, &mut draft);
    parameters::judge(loaded, &mut draft);
    types::infer(loaded, &mut draft);
    draft.problems.sort_by_key(Diagnostic::order);
    draft.problems.dedup();
    Some(draft)
}
