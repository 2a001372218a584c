//! A checked graph to a [`Plan`].

use super::convert::conversion;
use super::cost::kept;
use super::{
    Conversion, Direction, EdgeId, EdgeKind, NodeId, Phase, Place, Plan, PlanEdge, PlanNode, PortRef,
    StepCost,
};
use crate::data::augment::CutOn;
use crate::graph::check::{self, Draft, Joint};
use crate::graph::load::{Loaded, Request, load_text};
use crate::graph::problem::Diagnostic;
use crate::graph::spec::{DeviceChoice, GraphSpec};
use crate::graph::write;
use crate::optim::schedule::Horizon;
use crate::stages::{Cost, EdgeType, Given, Rate, Registry, Role, StageSpec};

/// Plans a specification that no file holds: it is judged as the text that it would be written as.
///
/// # Errors
/// Everything that is wrong with it.
pub fn build(graph: &GraphSpec, registry: &Registry) -> Result<Plan, Vec<Diagnostic>> {
    let request = Request { graph: format!("{}.ron", graph.name).into(), ..Request::default() };
    let text = write::to_ron(graph).unwrap_or_default();
    plan(&load_text(&text, &request), registry).map(|(plan, _)| plan)
}

/// Checks and plans a loaded graph; its notes come with the plan.
///
/// # Errors
/// Everything that is wrong with it, notes included, in the order of the texts.
pub fn plan(loaded: &Loaded, registry: &Registry) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let Some(draft) = check::check(loaded, registry) else { return Err(loaded.problems.clone()) };
    if draft.refused() {
        return Err(draft.problems);
    }
    match of_draft(&draft) {
        Ok(plan) => Ok((plan, draft.problems)),
        Err(problem) => Err(vec![*problem]),
    }
}

/// Plans a graph without errors; a stage may still not have told the types of its outputs.
fn of_draft(draft: &Draft) -> Result<Plan, Box<Diagnostic>> {
    let mut nodes = nodes(draft);
    let edges = edges(draft, &nodes)?;
    wire(&mut nodes, &edges);
    let at_rate = |wanted: fn(&PlanNode) -> bool| -> Vec<NodeId> {
        draft.order.iter().copied().filter(|node| wanted(&nodes[*node])).map(NodeId).collect()
    };
    let (host, mut barrier) = (
        at_rate(|node| matches!(node.place, Place::Host { .. })),
        at_rate(|node| node.rate == Rate::Barrier),
    );
    let total_steps = draft
        .steps_per_epoch
        .map(|steps_per_epoch| draft.graph.duration.steps(Horizon { steps_per_epoch, total_steps: 0 }));
    // a checkpoint saves what the others did
    barrier.sort_by_key(|node| nodes[node.0].role == Role::Checkpoint);
    let cost = cost(draft, &nodes, &edges);
    Ok(Plan {
        graph: draft.graph.clone(),
        nodes,
        edges,
        host,
        phases: draft.phases.clone(),
        barrier,
        batch: draft.batch,
        steps_per_epoch: draft.steps_per_epoch,
        total_steps: total_steps.or(match draft.graph.duration {
            crate::optim::schedule::Span::Steps(steps) => Some(steps),
            _ => None,
        }),
        cost,
    })
}

/// Tells every port its edges.
fn wire(nodes: &mut [PlanNode], edges: &[PlanEdge]) {
    for (index, edge) in edges.iter().enumerate() {
        let id = EdgeId(index);
        let gradients = edge.ty == EdgeType::Gradients;
        if edge.kind == EdgeKind::Gradient {
            nodes[edge.from.node.0].trained = true;
        }
        if edge.kind != EdgeKind::Gradient || gradients {
            nodes[edge.to.node.0].wired[edge.to.port] = Some(id);
        }
        if edge.kind != EdgeKind::Gradient {
            nodes[edge.from.node.0].produces[edge.from.port].1.push(id);
        }
    }
}

fn nodes(draft: &Draft) -> Vec<PlanNode> {
    let mut nodes = Vec::new();
    for (index, node) in draft.nodes.iter().enumerate() {
        let Some(declared) = &node.declared else { continue };
        let arriving = draft.arriving(index);
        let given =
            Given(node.ports.inputs.iter().zip(&arriving).map(|(p, ty)| (p.name, ty.as_ref())).collect());
        let scope = draft.scope();
        nodes.push(PlanNode {
            name: node.name.into(),
            stage: node.spec.stage.clone(),
            role: declared.role(),
            rate: declared.rate(),
            place: match declared.on_host() {
                true => Place::Host { workers: declared.workers() },
                false => Place::Island,
            },
            inputs: node.ports.inputs.clone(),
            outputs: node.ports.outputs.clone(),
            wired: vec![None; node.ports.inputs.len()],
            produces: node
                .outputs
                .iter()
                .map(|ty| (ty.clone().unwrap_or(EdgeType::Bytes), Vec::new()))
                .collect(),
            trained: false,
            reads: !declared.reads().is_empty(),
            cost: declared.cost(&scope, &given),
        });
    }
    nodes
}

fn edges(draft: &Draft, nodes: &[PlanNode]) -> Result<Vec<PlanEdge>, Box<Diagnostic>> {
    let port = |(node, port): (usize, usize)| PortRef { node: NodeId(node), port };
    let mut edges = Vec::new();
    for joint in draft.joints() {
        let Joint { from, to, kind } = joint;
        let (producer, consumer) = (&nodes[from.0], &nodes[to.0]);
        let ty = match kind {
            EdgeKind::Gradient
                if consumer.inputs.get(to.1).is_some_and(|port| port.mirrored)
                    && consumer.role == Role::Optimizer =>
            {
                EdgeType::Gradients
            }
            // a gradient has the shape of what it is the gradient of
            EdgeKind::Gradient => {
                draft.arriving(from.0)[from.1].clone().ok_or_else(|| untold(draft, joint))?
            }
            _ => draft.nodes[from.0].outputs[from.1].clone().ok_or_else(|| untold(draft, joint))?,
        };
        let conversion = conversion(&ty, producer.rate, consumer.rate, draft.batch).0;
        edges.push(PlanEdge {
            from: port(from),
            to: port(to),
            kind,
            capacity: capacity(producer, &ty, draft.batch.micro),
            ty,
            conversion,
        });
    }
    Ok(edges)
}

fn untold(draft: &Draft, joint: Joint) -> Box<Diagnostic> {
    let (from, to) = (&draft.nodes[joint.from.0], &draft.nodes[joint.to.0]);
    let wire = draft.wires.iter().find(|wire| wire.node == joint.to.0 && wire.port == Some(joint.to.1));
    let wire = wire.or(draft.wires.first());
    let what = format!("`{}` does not tell what it gives to `{}`", from.name, to.name);
    let at = wire.map(|wire| wire.place.clone());
    let problem = Diagnostic::error(at.unwrap_or_else(|| draft.start.clone()), what)
        .node(from.name)
        .expected("a type for each output")
        .found("none");
    Box::new(problem)
}

/// How many values may wait between threads: two batches of tensors, a batch of pictures. None wait on the island.
fn capacity(producer: &PlanNode, ty: &EdgeType, micro: usize) -> usize {
    match (producer.place, ty) {
        (Place::Island, _) => 0,
        (_, EdgeType::Tensor { .. }) => 2,
        _ => micro.clamp(4, 64),
    }
}

/// Sums over the nodes, and the peak of memory: what stays, what waits in channels, and the widest phase.
fn cost(draft: &Draft, nodes: &[PlanNode], edges: &[PlanEdge]) -> StepCost {
    let mut work: Vec<Vec<NodeId>> = draft.phases.iter().map(phase_nodes).collect();
    work.extend(
        nodes.iter().enumerate().filter(|(_, n)| n.rate == Rate::Barrier).map(|(i, _)| vec![NodeId(i)]),
    );
    let fleeting = |Cost { bytes, resident, .. }: Cost| bytes - resident;
    let widest = work
        .iter()
        .map(|phase| phase.iter().map(|node| fleeting(nodes[node.0].cost)).sum::<f64>())
        .fold(0.0, f64::max);
    let resident: f64 = nodes.iter().map(|node| node.cost.resident).sum();
    let own = match draft.graph.device {
        DeviceChoice::Cuda(_) => kept::CONTEXT,
        DeviceChoice::Auto | DeviceChoice::Cpu => kept::PROCESS,
    };
    StepCost {
        parameters: nodes
            .iter()
            .find(|node| node.role == Role::Student)
            .map_or(0, |node| node.cost.parameters),
        flops: nodes.iter().map(|node| node.cost.flops).sum(),
        peak_bytes: own + resident + widest + waiting(draft, nodes, edges),
    }
}

fn phase_nodes(phase: &Phase) -> Vec<NodeId> {
    let forward = phase.actors.iter().filter(|actor| actor.direction == Direction::Forward);
    forward.map(|actor| actor.node).collect()
}

/// Bytes in channels, and of values that the island keeps from one phase to the next; each output once, however many
/// take it.
fn waiting(draft: &Draft, nodes: &[PlanNode], edges: &[PlanEdge]) -> f64 {
    let mut counted: Vec<PortRef> = Vec::new();
    let mut sum = 0.0;
    for edge in edges.iter().filter(|edge| edge.kind == EdgeKind::Forward) {
        if counted.contains(&edge.from) {
            continue;
        }
        counted.push(edge.from);
        let whole = edge.ty.bytes() * draft.batch.global as f64 / tensor_images(&edge.ty) as f64;
        sum += match (nodes[edge.from.node.0].place, nodes[edge.to.node.0].place, edge.conversion) {
            // pictures wait, and become crops when their turn comes
            (Place::Host { .. }, Place::Island, _) if cut_there(draft, nodes, edge.from.node) => whole,
            // one is being made, some wait, and the whole batch is in use
            (Place::Host { .. }, Place::Island, _) => (edge.capacity + 1) as f64 * edge.ty.bytes() + whole,
            (Place::Host { .. }, Place::Host { .. }, _) => edge.capacity as f64 * edge.ty.bytes(),
            (_, _, Conversion::Concat { .. } | Conversion::Slice { .. }) => whole,
            _ => 0.0,
        };
    }
    sum
}

/// Whether what a node gives are crops that a GPU makes.
fn cut_there(draft: &Draft, nodes: &[PlanNode], node: NodeId) -> bool {
    let on_host =
        |node: &PlanNode| matches!(&node.stage, StageSpec::MultiCrop(stage) if stage.cut_on == CutOn::Host);
    matches!(draft.graph.device, DeviceChoice::Cuda(_))
        && nodes[node.0].role == Role::Collate
        && !nodes.iter().any(on_host)
}

/// Images that a tensor spans; 1 for what spans none.
fn tensor_images(ty: &EdgeType) -> usize {
    match ty {
        EdgeType::Tensor { dims, batch: Some((axis, _)) } => dims.get(*axis).copied().unwrap_or(1).max(1),
        _ => 1,
    }
}
