//! What a device's memory will be used for, before the first step.

use std::fmt::Write;

use super::words;
use crate::plan::Plan;
use crate::plan::cost::kept;

/// A line a part, largest first, against the memory that there is.
pub fn plan(plan: &Plan, memory: u64) -> String {
    let (held, passing) = parts(plan);
    let counted: f64 = held.iter().chain(&passing).map(|(_, bytes)| bytes).sum();
    let peak = plan.cost.peak_bytes;
    let mut out = String::new();
    let (takes, has) = (words::bytes(peak), words::bytes(memory as f64));
    // writing to a string does not fail
    let _ = writeln!(out, "memory on {}: {takes} of {has}", words::device(plan.graph.device));
    let rest = ("what waits between stages, at most".to_owned(), (peak - kept::CONTEXT - counted).max(0.0));
    let own = ("driver, kernels, workspace".to_owned(), kept::CONTEXT);
    let mut lines: Vec<(String, f64)> = held.into_iter().chain(passing).chain([rest, own]).collect();
    lines.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown: Vec<_> = lines.into_iter().filter(|(_, bytes)| *bytes >= 1e6).collect();
    let width = shown.iter().map(|(word, _)| word.chars().count()).max().unwrap_or(0);
    for (word, bytes) in shown {
        let _ = writeln!(out, "  {word:width$}  {}", words::bytes(bytes));
    }
    out
}

/// What stages hold all the time, and what those of the widest phase need while they work.
type Parts = (Vec<(String, f64)>, Vec<(String, f64)>);

fn parts(plan: &Plan) -> Parts {
    let held = plan.nodes.iter().map(|node| (format!("{}: held", node.name), node.cost.resident)).collect();
    let of_phase = |phase: &crate::plan::Phase| -> Vec<(String, f64)> {
        let mut nodes: Vec<_> = phase.actors.iter().map(|actor| actor.node.0).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let fleeting = |node: &crate::plan::PlanNode| node.cost.bytes - node.cost.resident;
        let nodes = nodes.into_iter().map(|node| &plan.nodes[node]);
        nodes.map(|node| (format!("{}: in use", node.name), fleeting(node))).collect()
    };
    let sum = |parts: &Vec<(String, f64)>| parts.iter().map(|(_, bytes)| bytes).sum::<f64>();
    let widest = plan.phases.iter().map(of_phase).max_by(|a, b| sum(a).total_cmp(&sum(b)));
    (held, widest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::graph::load::{Request, load};
    use crate::plan::build;
    use crate::stages::Registry;

    #[test]
    fn the_parts_are_the_whole() {
        let graph = format!("{}/graphs/vits16.ron", env!("CARGO_MANIFEST_DIR")).into();
        let sets = ["micro_batch=32", "device=Cuda(0)", "precision=Bf16"].map(String::from).into();
        let loaded = load(&Request { graph, sets, ..Request::default() }).unwrap();
        let (plan, _) = build::plan(&loaded, &Registry::default()).unwrap();
        let text = super::plan(&plan, 80_000_000_000);
        let number = |line: &str| -> Option<f64> {
            let mut words = line.split_whitespace().rev();
            let (unit, value) = (words.next()?, words.next()?.parse::<f64>().ok()?);
            Some(value * if unit == "GB" { 1e9 } else { 1e6 })
        };
        let parts: f64 = text.lines().skip(1).map(|line| number(line).expect(line)).sum();
        let off = parts / plan.cost.peak_bytes - 1.0;
        // parts below a megabyte are left out, and each is rounded
        assert!(off.abs() < 0.01, "{off}: {text}");
        for word in ["student: in use", "optimizer: held", "collate: held", "driver, kernels, workspace"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
