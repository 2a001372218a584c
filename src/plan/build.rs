//! From a specification to a plan: names become indices, every edge gets a type, every actor its turn.

use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use super::order::{self, actors_of};
use super::{
    BatchPlan, Conversion, EdgeId, EdgeKind, NodeId, Place, Plan, PlanEdge, PlanNode, PortRef, StepCost,
};
use crate::graph::architecture;
use crate::graph::spec::GraphSpec;
use crate::optim::schedule::{Horizon, Span};
use crate::stages::registry::{Declared, Registry, Unknown};
use crate::stages::{EdgeType, Fault, Given, Problem, Rate, Role, Scope, StageSpec};

/// Something that keeps a graph from becoming a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// A custom stage that this program does not know.
    Stage { node: String, why: Unknown },
    /// A parameter, an input's type, or a key of the graph.
    Problem { node: Option<String>, problem: Problem },
    /// A wire that starts or ends where there is nothing: its input, what was written, what is there.
    Wire { node: String, input: String, found: String, expected: String },
    /// An input that must be wired.
    Unwired { node: String, input: String, feedback: bool },
    /// An input that is wired under `inputs` and under `feedback`.
    DoublyWired { node: String, input: String },
    /// An ordinary wire to an input for feedback, or the other way round.
    WrongKind { node: String, input: String, feedback: bool },
    /// Nodes that wait for each other; the first stands at the end again.
    Cycle { walk: Vec<String> },
}

/// Builds the plan of a graph.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn build(graph: &GraphSpec, registry: &Registry) -> Result<Plan, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut declared = Vec::new();
    for (name, node) in &graph.nodes {
        match node.stage.declaration(registry) {
            Ok(stage) => declared.push(Some(stage)),
            Err(why) => {
                declared.push(None);
                findings.push(Finding::Stage { node: name.clone(), why });
            }
        }
    }
    let micro = graph.micro_batch.unwrap_or(graph.global_batch);
    let scope = Scope {
        graph,
        global_batch: graph.global_batch,
        micro_batch: micro,
        steps_per_epoch: steps_per_epoch(graph, &declared),
    };
    findings.extend(graph_problems(&scope, &declared));
    for ((name, _), stage) in graph.nodes.iter().zip(&declared) {
        let problems = stage.iter().flat_map(|stage| stage.problems(&scope));
        findings.extend(problems.map(|problem| Finding::Problem { node: Some(name.clone()), problem }));
    }
    let mut nodes = plan_nodes(graph, &declared);
    let mut edges = wires(graph, &nodes, &mut findings);
    let turn = match topological(&nodes, &edges) {
        Ok(turn) => turn,
        Err(walk) => {
            findings.push(Finding::Cycle { walk });
            return Err(findings);
        }
    };
    infer(&scope, &declared, &turn, &mut nodes, &mut edges, &mut findings);
    if !findings.is_empty() {
        return Err(findings);
    }
    mirror(graph, &mut nodes, &mut edges);
    for (index, edge) in edges.iter_mut().enumerate() {
        edge.conversion = conversion(&nodes, edge);
        edge.capacity = capacity(&edge.ty, micro);
        if edge.kind != EdgeKind::Gradient {
            nodes[edge.to.node.0].wired[edge.to.port] = Some(EdgeId(index));
            nodes[edge.from.node.0].produces[edge.from.port].1.push(EdgeId(index));
        }
    }
    let horizon = scope.horizon();
    let host = turn.iter().copied().filter(|n| matches!(nodes[n.0].place, Place::Host { .. })).collect();
    let barrier = barrier(&nodes);
    let phases = order::phases(&actors_of(&nodes, &edges), &nodes, &edges);
    let cost = step_cost(&scope, &nodes, &edges);
    let batch = BatchPlan { global: graph.global_batch, micro };
    let (steps_per_epoch, total_steps) = (scope.steps_per_epoch, total_steps(graph, horizon));
    let graph = graph.clone();
    Ok(Plan { graph, nodes, edges, host, phases, barrier, batch, steps_per_epoch, total_steps, cost })
}

fn steps_per_epoch(graph: &GraphSpec, declared: &[Option<Declared<'_>>]) -> Option<u64> {
    let images = declared.iter().flatten().find(|s| s.role() == Role::Source)?.images()?;
    images.checked_div(graph.global_batch).map(|steps| steps as u64)
}

fn total_steps(graph: &GraphSpec, horizon: Option<Horizon>) -> Option<u64> {
    match graph.duration {
        Span::Steps(steps) => Some(steps),
        _ => horizon.map(|h| h.total_steps),
    }
}

/// What is wrong with the graph's own keys.
fn graph_problems(scope: &Scope, declared: &[Option<Declared<'_>>]) -> Vec<Finding> {
    let graph = scope.graph;
    let (global, micro) = (scope.global_batch, scope.micro_batch);
    let vit = graph.network.backbone.vit();
    let head = &graph.network.head;
    let images = declared.iter().flatten().find(|s| s.role() == Role::Source).and_then(|s| s.images());
    let good = |good: bool, key: &str, found: String, expected: String| {
        (!good).then(|| Problem { at: Fault::Graph(key.into()), found, expected, help: None })
    };
    let duration = match graph.duration {
        Span::Epochs(epochs) => epochs.is_finite() && epochs > 0.0,
        Span::Steps(steps) => steps > 0,
        Span::Fraction(_) => false,
    };
    let sides = vit.patch > 0 && vit.image > 0 && vit.image % vit.patch == 0;
    let mut problems: Vec<_> = [
        good(global > 0, "global_batch", global.to_string(), "at least 1 picture".into()),
        good(
            micro > 0 && global.is_multiple_of(micro),
            "micro_batch",
            micro.to_string(),
            format!("a divisor of global_batch, {global}"),
        ),
        good(
            images.is_none_or(|images| global <= images),
            "global_batch",
            global.to_string(),
            format!("at most the {} pictures that the source holds", images.unwrap_or(0)),
        ),
        good(duration, "duration", format!("{:?}", graph.duration), "Epochs(n) or Steps(n), above 0".into()),
        good(
            matches!(vit.patch, 4 | 8 | 14 | 16),
            "network.backbone.patch",
            vit.patch.to_string(),
            "4, 8, 14 or 16".into(),
        ),
        good(
            sides,
            "network.backbone.image",
            vit.image.to_string(),
            format!("a multiple of the patch, {}", vit.patch),
        ),
        good(head.hidden > 0, "network.head.hidden", head.hidden.to_string(), "at least 1".into()),
        good(
            head.bottleneck > 0,
            "network.head.bottleneck",
            head.bottleneck.to_string(),
            "at least 1".into(),
        ),
        good(head.out_dim > 1, "network.head.out_dim", head.out_dim.to_string(), "at least 2".into()),
        good(
            (0.0..1.0).contains(&graph.network.drop_path),
            "network.drop_path",
            graph.network.drop_path.to_string(),
            "0 up to, not including, 1".into(),
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    if head.batch_norm && micro > 0 && micro < global {
        problems.push(Problem {
            at: Fault::Graph("micro_batch".into()),
            found: format!("{micro}, less than global_batch, {global}"),
            expected: format!("{global}: network.head.batch_norm needs all rows of the batch at once"),
            help: Some("leave micro_batch out, or switch network.head.batch_norm off".into()),
        });
    }
    problems.into_iter().map(|problem| Finding::Problem { node: None, problem }).collect()
}

fn plan_nodes(graph: &GraphSpec, declared: &[Option<Declared<'_>>]) -> Vec<PlanNode> {
    let nodes = graph.nodes.iter().zip(declared).map(|((name, node), stage)| {
        let (role, rate) = match stage {
            Some(stage) => (stage.role(), stage.rate()),
            None => (Role::Other(name.clone()), Rate::Micro),
        };
        let ports = stage.as_ref().map(|stage| stage.ports()).unwrap_or_default();
        let host = rate == Rate::Sample || role == Role::Collate;
        PlanNode {
            name: name.clone(),
            stage: node.stage.clone(),
            place: if host {
                Place::Host { workers: stage.as_ref().map_or(1, |stage| stage.workers()) }
            } else {
                Place::Island
            },
            role,
            rate,
            wired: vec![None; ports.inputs.len()],
            produces: ports.outputs.iter().map(|_| (EdgeType::Weights, Vec::new())).collect(),
            inputs: ports.inputs,
            outputs: ports.outputs,
            trained: false,
            cost: Default::default(),
        }
    });
    nodes.collect()
}

/// The wires of the file, in its order.
fn wires(graph: &GraphSpec, nodes: &[PlanNode], findings: &mut Vec<Finding>) -> Vec<PlanEdge> {
    let mut edges = Vec::new();
    for (index, (name, node)) in graph.nodes.iter().enumerate() {
        let ordinary = node.inputs.iter().map(|wire| (wire, EdgeKind::Forward));
        for ((input, from), kind) in
            ordinary.chain(node.feedback.iter().map(|wire| (wire, EdgeKind::Feedback)))
        {
            match wire(nodes, NodeId(index), input, from, kind) {
                Ok(edge) => edges.push(edge),
                Err(finding) => findings.push(finding),
            }
        }
        for port in &nodes[index].inputs {
            let wired = [node.inputs.contains_key(port.name), node.feedback.contains_key(port.name)];
            let (node, input) = (name.clone(), port.name.to_string());
            match wired {
                [true, true] => findings.push(Finding::DoublyWired { node, input }),
                [false, false] if !port.optional && !port.mirrored => {
                    findings.push(Finding::Unwired { node, input, feedback: port.feedback });
                }
                _ => {}
            }
        }
    }
    edges
}

fn wire(
    nodes: &[PlanNode],
    to: NodeId,
    input: &str,
    from: &str,
    kind: EdgeKind,
) -> Result<PlanEdge, Finding> {
    let consumer = &nodes[to.0];
    let wrong = |found: &str, expected: String| Finding::Wire {
        node: consumer.name.clone(),
        input: input.into(),
        found: found.into(),
        expected,
    };
    let names = |ports: &[crate::stages::Port]| ports.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
    let open = |p: &&crate::stages::Port| p.name == input && !p.mirrored;
    let Some(port) = consumer.inputs.iter().position(|p| open(&p)) else {
        return Err(wrong(input, format!("one of the inputs {}", names(&consumer.inputs))));
    };
    if consumer.inputs[port].feedback != (kind == EdgeKind::Feedback) {
        let feedback = consumer.inputs[port].feedback;
        return Err(Finding::WrongKind { node: consumer.name.clone(), input: input.into(), feedback });
    }
    let Some((producer, output)) = from.split_once('/') else {
        return Err(wrong(from, "a wire, \"node/output\"".into()));
    };
    let Some(node) = nodes.iter().position(|n| n.name == producer) else {
        let all: Vec<_> = nodes.iter().map(|n| n.name.as_str()).collect();
        return Err(wrong(from, format!("one of the nodes {}", all.join(", "))));
    };
    let Some(out) = nodes[node].outputs.iter().position(|p| p.name == output) else {
        return Err(wrong(
            from,
            format!("one of the outputs of {producer}: {}", names(&nodes[node].outputs)),
        ));
    };
    Ok(PlanEdge {
        from: PortRef { node: NodeId(node), port: out },
        to: PortRef { node: to, port },
        kind,
        ty: EdgeType::Weights,
        conversion: Conversion::None,
        capacity: 0,
    })
}

/// The nodes in an order in which every producer stands before its consumers, feedback apart; or a walk around a cycle.
fn topological(nodes: &[PlanNode], edges: &[PlanEdge]) -> Result<Vec<NodeId>, Vec<String>> {
    let mut wires = DiGraph::<(), ()>::with_capacity(nodes.len(), edges.len());
    // petgraph's order is a depth-first one from the last node back: adding them in reverse keeps the file's order
    let at: Vec<NodeIndex> = (0..nodes.len()).map(|_| wires.add_node(())).collect();
    let place = |node: NodeId| at[nodes.len() - 1 - node.0];
    for edge in edges.iter().filter(|e| e.kind == EdgeKind::Forward) {
        wires.add_edge(place(edge.from.node), place(edge.to.node), ());
    }
    let node = |index: NodeIndex| NodeId(nodes.len() - 1 - index.index());
    match toposort(&wires, None) {
        Ok(order) => Ok(order.into_iter().map(node).collect()),
        Err(_) => {
            let knot = tarjan_scc(&wires)
                .into_iter()
                .find(|scc| scc.len() > 1 || scc.iter().any(|&n| wires.contains_edge(n, n)));
            Err(walk(&wires, &knot.unwrap_or_default())
                .into_iter()
                .map(|n| nodes[node(n).0].name.clone())
                .collect())
        }
    }
}

/// A walk within a strongly connected part that comes back to where it began.
fn walk(wires: &DiGraph<(), ()>, knot: &[NodeIndex]) -> Vec<NodeIndex> {
    let Some(&start) = knot.iter().max() else { return Vec::new() };
    let mut path = vec![start];
    loop {
        let here = path[path.len() - 1];
        let next = wires.neighbors(here).filter(|n| knot.contains(n)).max();
        let Some(next) = next else { return path };
        if let Some(seen) = path.iter().position(|&n| n == next) {
            let mut cycle = path.split_off(seen);
            cycle.push(next);
            return cycle;
        }
        path.push(next);
    }
}

/// The type of every output, from the sources on.
fn infer(
    scope: &Scope,
    declared: &[Option<Declared<'_>>],
    turn: &[NodeId],
    nodes: &mut [PlanNode],
    edges: &mut [PlanEdge],
    findings: &mut Vec<Finding>,
) {
    let mut known: Vec<Option<Vec<EdgeType>>> = nodes.iter().map(|_| None).collect();
    for &id in turn {
        let Some(stage) = &declared[id.0] else { continue };
        let given = given(id, nodes, edges, &known);
        match stage.infer(scope, &given) {
            Ok(types) => {
                nodes[id.0].cost = stage.cost(scope, &given);
                nodes[id.0].produces = types.iter().map(|ty| (ty.clone(), Vec::new())).collect();
                known[id.0] = Some(types);
            }
            Err(problems) => {
                let node = Some(nodes[id.0].name.clone());
                findings.extend(
                    problems.into_iter().map(|problem| Finding::Problem { node: node.clone(), problem }),
                );
            }
        }
    }
    for edge in edges {
        if let Some(ty) = known[edge.from.node.0].as_ref().and_then(|types| types.get(edge.from.port)) {
            edge.ty = ty.clone();
        }
        let wants_weights = nodes[edge.to.node.0].inputs[edge.to.port].feedback;
        if wants_weights && known[edge.from.node.0].is_some() && edge.ty != EdgeType::Weights {
            let problem = Problem {
                at: Fault::Input(nodes[edge.to.node.0].inputs[edge.to.port].name.into()),
                found: edge.ty.to_string(),
                expected: "weights".into(),
                help: None,
            };
            findings.push(Finding::Problem { node: Some(nodes[edge.to.node.0].name.clone()), problem });
        }
    }
}

fn given<'t>(
    node: NodeId,
    nodes: &[PlanNode],
    edges: &[PlanEdge],
    known: &'t [Option<Vec<EdgeType>>],
) -> Given<'t> {
    let ports = nodes[node.0].inputs.iter().enumerate().map(|(port, input)| {
        let edge = edges.iter().find(|e| e.to == PortRef { node, port });
        let ty = edge.and_then(|e| known[e.from.node.0].as_ref()?.get(e.from.port));
        (input.name, ty)
    });
    Given(ports.collect())
}

/// Draws the gradient wires: against every wire into a differentiable input whose producer is trained, and from each trained node's weights to
/// its optimizer.
fn mirror(graph: &GraphSpec, nodes: &mut [PlanNode], edges: &mut Vec<PlanEdge>) {
    let gradient = |from: PortRef, to: PortRef, ty: EdgeType| PlanEdge {
        from,
        to,
        kind: EdgeKind::Gradient,
        ty,
        conversion: Conversion::None,
        capacity: 0,
    };
    let mut drawn = Vec::new();
    for (index, (_, node)) in graph.nodes.iter().enumerate() {
        let StageSpec::AdamW(adamw) = &node.stage else { continue };
        let to = PortRef { node: NodeId(index), port: 0 };
        for name in &adamw.trains {
            let Some(trained) = graph.nodes.get_index_of(name) else { continue };
            nodes[trained].trained = true;
            let weights = nodes[trained].inputs.iter().position(|p| p.feedback);
            let from = PortRef { node: NodeId(trained), port: weights.unwrap_or(0) };
            drawn.push(gradient(from, to, EdgeType::Gradients));
        }
    }
    for edge in edges.iter() {
        let differentiable = nodes[edge.to.node.0].inputs[edge.to.port].differentiable;
        if differentiable && nodes[edge.from.node.0].trained {
            drawn.push(gradient(edge.to, edge.from, edge.ty.clone()));
        }
    }
    edges.extend(drawn);
}

/// What happens to a value between the rates of its producer and its consumer.
fn conversion(nodes: &[PlanNode], edge: &PlanEdge) -> Conversion {
    let rate = |node: NodeId| nodes[node.0].rate;
    let batch_axis = match &edge.ty {
        EdgeType::Tensor { batch: Some((axis, _)), .. } => Some(*axis),
        _ => None,
    };
    match (rate(edge.from.node), rate(edge.to.node), batch_axis) {
        (Rate::Micro, Rate::Step, Some(axis)) => Conversion::Concat { axis },
        (Rate::Micro, Rate::Step, None) => Conversion::Sum,
        (Rate::Step, Rate::Micro, Some(axis)) => Conversion::Slice { axis },
        (Rate::Step, Rate::Micro, None) => Conversion::Hold,
        _ => Conversion::None,
    }
}

/// How many values may wait on an edge between threads: two batches of tensors, a batch of pictures.
fn capacity(ty: &EdgeType, micro: usize) -> usize {
    match ty {
        EdgeType::Bytes | EdgeType::Image | EdgeType::Crops { .. } => micro.clamp(4, 64),
        _ => 2,
    }
}

/// The nodes between steps, `checkpoint` last: it saves what the others did.
fn barrier(nodes: &[PlanNode]) -> Vec<NodeId> {
    let all = (0..nodes.len()).map(NodeId).filter(|n| nodes[n.0].rate == Rate::Barrier);
    let (last, first): (Vec<_>, Vec<_>) = all.partition(|n| nodes[n.0].role == Role::Checkpoint);
    first.into_iter().chain(last).collect()
}

/// Sums over the nodes, and what waits on the wires.
fn step_cost(scope: &Scope, nodes: &[PlanNode], edges: &[PlanEdge]) -> StepCost {
    let waiting = |edge: &PlanEdge| edge.ty.bytes() * edge.capacity as f64;
    let host = |node: NodeId| matches!(nodes[node.0].place, Place::Host { .. });
    let channels: f64 =
        edges.iter().filter(|e| e.kind == EdgeKind::Forward && host(e.from.node)).map(waiting).sum();
    StepCost {
        parameters: architecture::parameters(&scope.graph.network),
        flops: nodes.iter().map(|n| n.cost.flops).sum(),
        peak_bytes: nodes.iter().map(|n| n.cost.bytes).sum::<f64>() + channels + BASE_BYTES,
    }
}

/// The program itself, its threads and libraries.
const BASE_BYTES: f64 = 30e6;
