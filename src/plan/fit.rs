//! Whether a plan fits a machine's memory, and what would: a smaller micro-batch, or computing again.

use super::build::build;
use super::explain::words;
use super::{BatchPlan, Plan, StepCost};
use crate::graph::load::Loaded;
use crate::graph::problem::Diagnostic;
use crate::graph::spec::{DeviceChoice, GraphSpec, NetworkSpec, Recompute};
use crate::stages::Registry;

/// The part of a machine's memory that a run may fill: the system and other programs need some too.
const PART: f64 = 0.9;

/// What is wrong with a plan whose predicted peak is too much for a machine, or for its GPU, of so many bytes; with the largest
/// batch that would do, and the least that would have to be computed again instead.
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
    let (micro, own) = (plan.graph.micro_batch, plan.graph.network.recompute);
    let with = |micro_batch: Option<usize>, recompute: Recompute| {
        let network = NetworkSpec { recompute, ..plan.graph.network.clone() };
        build(&GraphSpec { micro_batch, network, ..plan.graph.clone() }, registry).map(|parts| parts.cost)
    };
    let takes = |cost: &StepCost| words::bytes(cost.peak_bytes);
    let again = more(plan).find_map(|level| {
        let cost = with(micro, level).ok().filter(|cost| cost.peak_bytes <= room)?;
        let work = 100.0 * (cost.flops / plan.cost.flops - 1.0);
        Some(format!("--set network.recompute={level:?} takes {}, for {work:.0} % more work", takes(&cost)))
    });
    let mut least = plan.cost.peak_bytes;
    // both at once, where neither is enough
    for level in std::iter::once(own).chain(more(plan).last().filter(|_| again.is_none())) {
        let set = if level == own { String::new() } else { format!("--set network.recompute={level:?} ") };
        for micro in smaller(plan.batch) {
            match with(Some(micro), level) {
                Ok(cost) if cost.peak_bytes <= room => {
                    let smaller =
                        format!("{set}--set micro_batch={micro} takes {}, for the same step", takes(&cost));
                    return again.map_or(smaller.clone(), |again| format!("{smaller}; {again}"));
                }
                Ok(cost) => least = least.min(cost.peak_bytes),
                Err(problems) => {
                    let node = problems.iter().find_map(|problem| problem.node.as_ref());
                    let node = node.map_or("the graph".to_owned(), |node| format!("`{node}`"));
                    let smaller = match largest(registry, plan, room) {
                        Some((batch, takes)) => {
                            format!("--set global_batch={batch} takes {}", words::bytes(takes))
                        }
                        None => "set a smaller network, or smaller crops".into(),
                    };
                    let whole = format!("{node} needs the whole batch at once: {smaller}");
                    return again.map_or(whole.clone(), |again| format!("{again}; {whole}"));
                }
            }
        }
    }
    let least = words::bytes(least);
    again.unwrap_or_else(|| {
        format!("no micro_batch makes it fit ({least} at least): set a smaller network, or smaller crops")
    })
}

/// What computes more again than the plan does, the least of it first.
fn more(plan: &Plan) -> impl DoubleEndedIterator<Item = Recompute> {
    let network = &plan.graph.network;
    let (own, vit) = (network.recompute, network.backbone.vit().is_some());
    [Recompute::Hidden, Recompute::Blocks].into_iter().filter(move |level| vit && *level > own)
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
    fn what_fits_is_named() {
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
        // as it is, with a part of the forward pass once more
        let large = |memory, said| check("vits16", &["micro_batch=64", "precision=F32"], memory, Some(said));
        large(11e9, "--set micro_batch=32 takes ");
        large(11e9, "; --set network.recompute=Hidden takes ");
        large(8e9, "; --set network.recompute=Blocks takes ");
        let small = &["micro_batch=64", "global_batch=64", "precision=F32"];
        check("vits16", small, 1.34e9, Some("--set network.recompute=Blocks --set micro_batch="));
        // batch norm needs all rows at once
        check("quickstart", &[], 1e8, Some("`student` needs the whole batch at once: --set global_batch="));
        // 3 × 2^5 images: not every power of two divides them
        check("vits16", &[whole[0], whole[1], "global_batch=96"], 14e9, Some("micro_batch=32 takes "));
    }
}
