//! A plan, or what is wrong with a graph, for programs.

use serde_json::{Value, json};

use super::picture::{Picture, State};
use super::words;
use crate::graph::origin::Origins;
use crate::graph::problem::{Diagnostic, Severity};
use crate::plan::{EdgeKind, Place, Plan};
use crate::stages::EdgeType;

/// The plan as one JSON object: `ok` is true. `elsewhere` is the same graph on the other kind of device.
pub fn plan(plan: &Plan, elsewhere: Option<&Plan>, notes: Vec<Value>) -> String {
    let elsewhere = elsewhere.map(|plan| {
        json!({
            "device": words::device(plan.graph.device),
            "precision": format!("{:?}", plan.precision()),
            "peak_bytes": plan.cost.peak_bytes,
        })
    });
    let value = json!({
        "ok": true,
        "name": plan.graph.name,
        "seed": plan.graph.seed,
        "device": words::device(plan.graph.device),
        "precision": format!("{:?}", plan.precision()),
        "global_batch": plan.batch.global,
        "micro_batch": plan.batch.micro,
        "steps_per_epoch": plan.steps_per_epoch,
        "total_steps": plan.total_steps,
        "parameters": plan.cost.parameters,
        "flops_per_step": plan.cost.flops,
        "peak_bytes": plan.cost.peak_bytes,
        "elsewhere": elsewhere,
        "facts": facts(plan),
        "nodes": plan.nodes.iter().map(node).collect::<Vec<_>>(),
        "edges": edges(plan),
        "phases": phases(plan),
        "notes": notes,
    });
    line(&value)
}

/// Errors and notes as one JSON object: `ok` is false.
pub fn problems(problems: &[Diagnostic], origins: &Origins) -> String {
    let of = |severity| -> Vec<Value> {
        problems.iter().filter(|p| p.severity == severity).map(|p| p.to_json(origins)).collect()
    };
    line(&json!({ "ok": false, "problems": of(Severity::Error), "notes": of(Severity::Note) }))
}

fn line(value: &Value) -> String {
    format!("{value:#}\n")
}

fn facts(plan: &Plan) -> Value {
    plan.facts().into_iter().map(|(word, value)| (word, json!(value))).collect()
}

fn node(node: &crate::plan::PlanNode) -> Value {
    json!({
        "name": node.name,
        "stage": node.stage.kind(),
        "role": node.role.word(),
        "fires": format!("{:?}", node.rate).to_lowercase(),
        "place": if node.place == Place::Island { "island" } else { "host" },
        "workers": match node.place {
            Place::Host { workers } => json!(workers),
            Place::Island => Value::Null,
        },
        "trained": node.trained,
        "parameters": node.cost.parameters,
        "flops_per_step": node.cost.flops,
        "bytes": node.cost.bytes,
    })
}

fn edges(plan: &Plan) -> Vec<Value> {
    let mut out = Vec::new();
    for edge in &plan.edges {
        let wire = words::wire(plan, edge);
        let (from, to) = wire.split_once(" -> ").unwrap_or((&wire, ""));
        let dims = match &edge.ty {
            EdgeType::Tensor { dims, .. } => json!(dims),
            _ => Value::Null,
        };
        let kind = match edge.kind {
            EdgeKind::Forward => "forward",
            EdgeKind::Feedback => "feedback",
            EdgeKind::Gradient => "gradient",
        };
        out.push(json!({
            "from": from,
            "to": to,
            "kind": kind,
            "type": edge.ty.to_string(),
            "dims": dims,
            "dtype": dims.is_array().then(|| format!("{:?}", plan.precision()).to_lowercase()),
            "conversion": format!("{:?}", edge.conversion),
            "capacity": edge.capacity,
        }));
    }
    out
}

fn phases(plan: &Plan) -> Vec<Value> {
    let mut out = Vec::new();
    for phase in &plan.phases {
        let actors: Vec<String> = phase
            .actors
            .iter()
            .map(|actor| crate::plan::actors::word(&plan.nodes[actor.node.0].name, actor.direction))
            .collect();
        out.push(json!({ "fires": format!("{:?}", phase.rate).to_lowercase(), "actors": actors }));
    }
    out
}

/// A picture for programs: what is drawn, without places.
pub fn picture(picture: &Picture) -> String {
    let state = |state: State| format!("{state:?}").to_lowercase();
    let node = |node: &crate::plan::explain::picture::Node| {
        json!({
            "name": node.name,
            "stage": node.kind,
            "shape": format!("{:?}", node.shape).to_lowercase(),
            "place": format!("{:?}", node.place).to_lowercase(),
            "details": node.details,
            "parameters": node.parameters.iter().cloned().map(|(k, v)| (k, json!(v))).collect::<Value>(),
            "state": state(node.state),
        })
    };
    let wire = |wire: &crate::plan::explain::picture::Line| {
        json!({
            "from": format!("{}/{}", wire.from, wire.from_port),
            "to": format!("{}/{}", wire.to, wire.to_port),
            "kind": format!("{:?}", wire.kind).to_lowercase(),
            "type": wire.ty,
            "state": state(wire.state),
        })
    };
    line(&json!({
        "title": picture.title,
        "remarks": picture.remarks.iter().map(|(_, remark)| remark).collect::<Vec<_>>(),
        "nodes": picture.nodes.iter().map(node).collect::<Vec<_>>(),
        "wires": picture.wires.iter().map(wire).collect::<Vec<_>>(),
    }))
}
