//! Values of a plan in words, the same in tables and pictures.

use crate::graph::spec::DeviceChoice;
use crate::plan::{Conversion, EdgeKind, Place, Plan, PlanEdge};
use crate::stages::range;
use crate::stages::{EdgeType, Rate};

/// `auto`, `cpu`, `cuda:0`.
pub fn device(device: DeviceChoice) -> String {
    match device {
        DeviceChoice::Auto => "auto".into(),
        DeviceChoice::Cpu => "cpu".into(),
        DeviceChoice::Cuda(ordinal) => format!("cuda:{ordinal}"),
    }
}

pub fn rate(rate: Rate) -> &'static str {
    match rate {
        Rate::Sample => "each picture",
        Rate::Micro => "each micro-batch",
        Rate::Step => "each step",
        Rate::Barrier => "between steps",
    }
}

pub fn place(place: Place) -> String {
    match place {
        Place::Host { workers: None } => "all threads".into(),
        Place::Host { workers: Some(1) } => "1 thread".into(),
        Place::Host { workers: Some(most) } => format!("{most} threads"),
        Place::Island => "island".into(),
    }
}

/// What happens where the rates differ; nothing where they agree, or where a micro-batch is the whole batch.
pub fn conversion(plan: &Plan, edge: &PlanEdge) -> String {
    match edge.conversion {
        Conversion::Hold if edge.ty.lent() => "lent".into(),
        _ if plan.batch.micros() == 1 => String::new(),
        Conversion::None => String::new(),
        Conversion::Concat { .. } => "joined to the whole batch".into(),
        Conversion::Slice { .. } => "cut to micro-batches".into(),
        Conversion::Sum => "summed over micro-batches".into(),
        Conversion::Hold => "the same for each".into(),
    }
}

/// What an edge carries, a tensor with its type: `(2, 64, 65536) f32`.
pub fn carried(plan: &Plan, ty: &EdgeType) -> String {
    match ty {
        EdgeType::Tensor { .. } => format!("{ty} {}", format!("{:?}", plan.precision()).to_lowercase()),
        EdgeType::Image => "picture u8".into(),
        EdgeType::Crops { .. } => format!("{ty} u8"),
        _ => ty.to_string(),
    }
}

/// `producer/port -> consumer/port`; a gradient's ends are the ports that it belongs to.
pub fn wire(plan: &Plan, edge: &PlanEdge) -> String {
    let (from, to) = (&plan.nodes[edge.from.node.0], &plan.nodes[edge.to.node.0]);
    let name = |ports: &[crate::stages::Port], port: usize| ports.get(port).map_or("", |port| port.name);
    let (out, into) = match (edge.kind, &edge.ty) {
        (EdgeKind::Gradient, EdgeType::Gradients) => (&from.inputs, &to.inputs),
        (EdgeKind::Gradient, _) => (&from.inputs, &to.outputs),
        _ => (&from.outputs, &to.inputs),
    };
    format!("{}/{} -> {}/{}", from.name, name(out, edge.from.port), to.name, name(into, edge.to.port))
}

/// A count with its thousands apart; nothing for none.
pub fn count(value: u64) -> String {
    if value == 0 {
        return String::new();
    }
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A figure of three digits or so; nothing for none.
pub fn part(value: f64) -> String {
    match value {
        0.0 => String::new(),
        v if v >= 100.0 => count(v.round() as u64),
        v if v >= 1.0 => format!("{v:.1}"),
        v if v >= 0.001 => format!("{v:.3}"),
        v => format!("{v:.0e}"),
    }
}

/// Floating-point operations: `18.2 GFLOP`, `320 TFLOP`.
pub fn work(flops: f64) -> String {
    if flops >= 1e13 {
        format!("{} TFLOP", part(flops / 1e12))
    } else {
        format!("{} GFLOP", part(flops / 1e9))
    }
}

/// `3.91 GB`, `212 MB`.
pub fn bytes(value: f64) -> String {
    if value >= 1e9 { format!("{:.2} GB", value / 1e9) } else { format!("{:.0} MB", value / 1e6) }
}

/// The length of the run, as far as it is known without data.
pub fn steps(plan: &Plan) -> String {
    let duration = range::word(plan.graph.duration);
    match (plan.total_steps, plan.steps_per_epoch) {
        (Some(total), Some(epoch)) => format!("{}, {} an epoch, for {duration}", count(total), count(epoch)),
        (Some(total), None) => format!("{}; an epoch is known when the source is opened", count(total)),
        (None, _) => format!("{duration}; their number is known when the source is opened"),
    }
}
