//! Whether a plan fits a machine's memory, and which micro-batch would.

use super::build::build;
use super::explain::words;
use super::{BatchPlan, Plan};
use crate::graph::load::Loaded;
use crate::graph::problem::Diagnostic;
use crate::graph::spec::{DeviceChoice, GraphSpec};
use crate::stages::Registry;

/// The part of a machine's memory that a run may fill: the system and other programs need some too.
const PART: f64 = 0.9;

/// What is wrong with a plan whose predicted peak is too much for a machine, or for its GPU, of so many bytes; with the largest
/// batch that would do.
pub fn problem(loaded: &Loaded, registry: &Registry, plan: &Plan, memory: u64) -> Option<Diagnostic> {
    let memory = memory as f64;
    if plan.cost.peak_bytes <= PART * memory {
        return None;
    }
    let key = if plan.graph.micro_batch.is_some() { "micro_batch" } else { "global_batch" };
    let (predicted, has) = (words::bytes(plan.cost.peak_bytes), words::bytes(memory));
    let who = match plan.graph.device {
        DeviceChoice::Cuda(_) => "this GPU",
        DeviceChoice::Auto | DeviceChoice::Cpu => "this machine",
    };
    let problem = Diagnostic::error(loaded.place(&[key]), format!("{who} has too little memory"))
        .key(key)
        .expected(format!("at most {} of its {has}", words::bytes(PART * memory)))
        .found(format!("a predicted peak of {predicted}"))
        .help(way_out(registry, plan, PART * memory));
    Some(problem)
}

/// What to do about it.
fn way_out(registry: &Registry, plan: &Plan, room: f64) -> String {
    let mut least = plan.cost.peak_bytes;
    for micro in smaller(plan.batch) {
        let graph = GraphSpec { micro_batch: Some(micro), ..plan.graph.clone() };
        match build(&graph, registry) {
            Ok(parts) if parts.cost.peak_bytes <= room => {
                let takes = words::bytes(parts.cost.peak_bytes);
                return format!("--set micro_batch={micro} takes {takes}, for the same step");
            }
            Ok(parts) => least = least.min(parts.cost.peak_bytes),
            Err(problems) => {
                let node = problems.iter().find_map(|problem| problem.node.as_ref());
                let node = node.map_or("the graph".to_owned(), |node| format!("`{node}`"));
                let smaller = match largest(registry, plan, room) {
                    Some((batch, takes)) => {
                        format!("--set global_batch={batch} takes {}", words::bytes(takes))
                    }
                    None => "set a smaller network, or smaller crops".into(),
                };
                return format!("{node} needs the whole batch at once: {smaller}");
            }
        }
    }
    let least = words::bytes(least);
    format!("no micro_batch makes it fit ({least} at least): set a smaller network, or smaller crops")
}

/// The largest whole batch that fits, and what it takes.
fn largest(registry: &Registry, plan: &Plan, room: f64) -> Option<(usize, f64)> {
    let takes = |batch: usize| {
        let graph = GraphSpec { global_batch: batch, ..plan.graph.clone() };
        build(&graph, registry).ok().map(|plan| plan.cost.peak_bytes)
    };
    let (mut fits, mut too_large) = (None, plan.batch.global);
    while too_large > fits.map_or(0, |(batch, _)| batch) + 1 {
        let middle = (fits.map_or(0, |(batch, _)| batch) + too_large) / 2;
        match takes(middle).filter(|bytes| *bytes <= room) {
            Some(bytes) => fits = Some((middle, bytes)),
            None => too_large = middle,
        }
    }
    fits
}

/// Powers of two below the micro-batch that divide the whole batch, the largest first.
fn smaller(batch: BatchPlan) -> impl Iterator<Item = usize> {
    let powers = (0..usize::BITS - 1).rev().map(|power| 1 << power);
    powers.filter(move |micro| *micro < batch.micro && batch.global.is_multiple_of(*micro))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::load::{Request, load};
    use crate::plan::build;

    #[test]
    fn the_largest_micro_batch_that_fits_is_named() {
        let check = |graph: &str, sets: &[&str], memory: f64, said: Option<&str>| {
            let graph = format!("{}/graphs/{graph}.ron", env!("CARGO_MANIFEST_DIR")).into();
            let sets = sets.iter().map(|set| (*set).to_owned()).collect();
            let loaded = load(&Request { graph, sets, ..Request::default() }).unwrap();
            let registry = Registry::default();
            let (plan, _) = build::plan(&loaded, &registry).unwrap();
            let note = problem(&loaded, &registry, &plan, memory as u64);
            let help = note.map(|note| format!("{}; {}", note.found, note.help.unwrap_or_default()));
            match (said, help) {
                (None, None) => {}
                (Some(said), Some(help)) => assert!(help.contains(said), "{help}"),
                (said, help) => panic!("{help:?}, not {said:?}"),
            }
        };
        let whole = &["micro_batch=None", "precision=F32"];
        check("vits16", whole, 1e15, None);
        check("vits16", whole, 24e9, Some("--set micro_batch=128 takes "));
        check("vits16", &["micro_batch=32", "precision=F32"], 24e9, None);
        check("vits16", whole, 1e9, Some("no micro_batch makes it fit"));
        // batch norm needs all rows at once
        check("quickstart", &[], 1e8, Some("`student` needs the whole batch at once: --set global_batch="));
        // 3 × 2^5 images: not every power of two divides them
        check("vits16", &[whole[0], whole[1], "global_batch=96"], 14e9, Some("micro_batch=32 takes "));
    }
}
