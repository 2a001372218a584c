//! A plan as tables.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};

use super::words;
use crate::plan::{EdgeKind, Plan};
use crate::stages::Rate;

/// The whole plan.
pub fn plan(plan: &Plan) -> String {
    let mut out = String::new();
    // writing to a string does not fail
    let _ = writeln!(out, "{}\n", title(plan));
    let _ = writeln!(out, "{}\n", nodes(plan));
    let _ = writeln!(out, "{}\n", edges(plan));
    let _ = writeln!(out, "{}", phases(plan));
    let _ = writeln!(out, "{}", totals(plan));
    out
}

/// What it would be on another device, in a line.
pub fn elsewhere(plan: &Plan) -> String {
    let (device, precision) = (words::device(plan.graph.device), plan.precision());
    format!("on {device} in {precision:?}: a predicted peak of {}\n", words::bytes(plan.cost.peak_bytes))
}

fn title(plan: &Plan) -> String {
    let graph = &plan.graph;
    let backbone = &graph.network.backbone;
    let (name, image) = (backbone.label(), backbone.image());
    format!(
        "{}: {name} at {image} pixels, {} {}, {:?} on {}, seed {}",
        graph.name,
        graph.network.head.outputs(),
        if graph.network.head.prototypes { "prototypes" } else { "outputs" },
        plan.precision(),
        words::device(plan.graph.device),
        graph.seed
    )
}

fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header.iter().copied());
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn nodes(plan: &Plan) -> Table {
    let mut table =
        table(&["node", "stage", "fires", "runs on", "parameters", "GFLOP/step", "MB"], &[4, 5, 6]);
    for node in &plan.nodes {
        table.add_row([
            node.name.clone(),
            node.stage.kind().to_owned(),
            words::rate(node.rate).to_owned(),
            words::place(node.place),
            words::count(node.cost.parameters),
            words::part(node.cost.flops / 1e9),
            words::part(node.cost.bytes / 1e6),
        ]);
    }
    table
}

fn edges(plan: &Plan) -> Table {
    let mut table = table(&["wire", "carries", "when", "crossing", "waiting"], &[4]);
    for edge in &plan.edges {
        let crossing = words::conversion(plan, edge);
        let waiting = if edge.capacity > 0 { format!("≤ {}", edge.capacity) } else { String::new() };
        let when = match edge.kind {
            EdgeKind::Forward if plan.nodes[edge.to.node.0].rate == Rate::Barrier => "after the step",
            EdgeKind::Forward => "this step",
            EdgeKind::Feedback => "previous step",
            EdgeKind::Gradient => "backward",
        };
        table.add_row([
            words::wire(plan, edge),
            words::carried(plan, &edge.ty),
            when.to_owned(),
            crossing,
            waiting,
        ]);
    }
    table
}

fn phases(plan: &Plan) -> String {
    let mut out = String::from("A step on the island, in order:\n");
    let micros = plan.batch.micros();
    for phase in &plan.phases {
        let names: Vec<String> = phase
            .actors
            .iter()
            .map(|actor| crate::plan::actors::word(&plan.nodes[actor.node.0].name, actor.direction))
            .collect();
        let times = match phase.rate {
            Rate::Micro if micros > 1 => {
                format!("for each of {micros} micro-batches of {}", plan.batch.micro)
            }
            _ => format!("once for the batch of {}", plan.batch.global),
        };
        let _ = writeln!(out, "  {times}: {}", names.join(", "));
    }
    let names = |nodes: &[crate::plan::NodeId]| {
        nodes.iter().map(|node| plan.nodes[node.0].name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let _ = writeln!(out, "Ahead of it, on host threads: {}", names(&plan.host));
    let _ = writeln!(out, "Between steps: {}", names(&plan.barrier));
    out
}

fn totals(plan: &Plan) -> String {
    let mut rows = vec![
        ("parameters of the network".to_owned(), words::count(plan.cost.parameters)),
        (
            "work".to_owned(),
            format!(
                "{} a step, {} an image",
                words::work(plan.cost.flops),
                words::work(plan.cost.flops / plan.batch.global as f64)
            ),
        ),
        ("predicted peak of memory".to_owned(), words::bytes(plan.cost.peak_bytes)),
        ("steps".to_owned(), words::steps(plan)),
    ];
    rows.extend(plan.facts());
    let width = rows.iter().map(|(word, _)| word.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(word, value)| format!("{word:width$}  {value}\n")).collect()
}
