//! Whole steps, or some of the island's stages alone.

use std::time::{Duration, Instant};

use super::{Measured, Peaks, Request, Timing, memory, replay::Replay};
use crate::kernels::cpu::matrix;
use crate::kernels::{KernelTime, Kernels};
use crate::plan::NodeId;
use crate::report::progress::{Progress, Show};
use crate::runtime::arrivals::feeders;
use crate::runtime::channel::Stopped;
use crate::runtime::execute::Parts;
use crate::runtime::firing::Run;
use crate::runtime::host::Feed;
use crate::runtime::island::{Island, follower};
use crate::runtime::launch::{Layout, launch};
use crate::runtime::trace::Span;
use crate::runtime::{Interrupt, RunError};
use crate::tensor::allocator;

/// Steps that a run would go on for: more than host stages are ever ahead.
const AHEAD: u64 = 1 << 20;

/// Times the request's steps; with `alone`, those stages by themselves on what the first step handed them. An interrupt ends it early.
///
/// # Errors
/// The first cause that ended a thread.
pub fn time<D: Kernels>(
    parts: &Parts<'_, D>,
    request: &Request,
    alone: &[NodeId],
    interrupt: &Interrupt,
) -> Result<Measured, RunError> {
    // host stages run ahead of the last step as they do of any other
    let end = request.warmup + request.steps + AHEAD;
    let mut run = Run::new(parts.plan, parts.horizon, 0..end, true);
    run.fuse = !request.no_fuse;
    // nobody makes pictures beside steps that are fed with old ones
    let replayed = request.no_data || !alone.is_empty();
    let layout = Layout { sequential: replayed, threads: request.threads };
    let (timings, kernels, threads, peaks, peak_memory) = launch(&run, parts, layout, |mut island, feed| {
        let feed = if replayed { Box::new(Replay::new(feed, per_step(&run))) } else { feed };
        island.first()?;
        let peaks = Peaks::measure::<D>(parts.device);
        parts.device.forget_peak();
        let (timings, kernels) = match alone {
            [] => whole::<D>(&run, parts.device, island, feed, request, interrupt)?,
            nodes => (some(&run, island, feed, nodes, request, interrupt)?, Vec::new()),
        };
        let peak_memory = parts.device.peak_memory().or_else(memory::peak);
        // the better of two, for a shared machine is slow at times
        let peaks = peaks.or_better(Peaks::measure::<D>(parts.device));
        Ok((timings, kernels, rayon::current_num_threads(), peaks, peak_memory))
    })?;
    let timed = |span: &Span| {
        let index = span.step.checked_sub(request.warmup)? as usize;
        (index < timings.len()).then_some(index)
    };
    let spans = run.trace.spans().into_iter().filter_map(|span| Some((timed(&span)?, span))).collect();
    let timed = |node: &NodeId| alone.is_empty() || alone.contains(node);
    let nodes = (0..run.plan.nodes.len()).map(NodeId).filter(timed);
    let fused = nodes.filter_map(|node| Some((node, follower(&run, node).filter(timed)?))).collect();
    Ok(Measured { timings, spans, fused, threads, peaks, peak_memory, kernels })
}

/// How often each feeding host node fires in a step.
fn per_step(run: &Run<'_>) -> Vec<u64> {
    feeders(run).iter().map(|node| run.per_step(run.plan.nodes[node.0].rate) as u64).collect()
}

/// Whole steps, and the kernels of one more.
fn whole<'a, D: Kernels>(
    run: &Run<'_>,
    device: &D,
    mut island: Island<'a, D>,
    mut feed: Box<dyn Feed<D> + 'a>,
    request: &Request,
    interrupt: &Interrupt,
) -> Result<(Vec<Timing>, Vec<KernelTime>), Stopped> {
    let timings =
        timed(run, request, interrupt, |step| island.step(step, feed.as_mut()).map(|done| done.data_wait))?;
    if !request.kernels || interrupt.status().is_some() {
        return Ok((timings, Vec::new()));
    }
    device.time_kernels();
    island.step(request.warmup + request.steps, feed.as_mut())?;
    Ok((timings, device.kernel_times()))
}

/// The first of the steps is whole: what it hands the stages is kept. It is one more than the request's and not timed.
fn some<'a, D: Kernels>(
    run: &Run<'_>,
    mut island: Island<'a, D>,
    mut feed: Box<dyn Feed<D> + 'a>,
    nodes: &[NodeId],
    request: &Request,
    interrupt: &Interrupt,
) -> Result<Vec<Timing>, Stopped> {
    island.keep_inputs_of(nodes.to_vec());
    island.step(0, feed.as_mut())?;
    drop(feed);
    timed(run, request, interrupt, |step| island.step_alone(step).map(|()| Duration::ZERO))
}

/// The steps after the warm-up, each by itself.
fn timed(
    run: &Run<'_>,
    request: &Request,
    interrupt: &Interrupt,
    mut work: impl FnMut(u64) -> Result<Duration, Stopped>,
) -> Result<Vec<Timing>, Stopped> {
    let mut timings = Vec::with_capacity(request.steps as usize);
    let end = request.warmup + request.steps;
    let mut progress = Progress::new(Show::Auto, 0, end);
    for step in 0..end {
        if interrupt.status().is_some() {
            break;
        }
        let (start, before, multiplied) = (Instant::now(), allocator::total(), matrix::spent());
        let waited = work(step)?;
        let (end, allocated) = (Instant::now(), allocator::total() - before);
        if step >= request.warmup {
            let products = (matrix::spent() - multiplied).as_secs_f64() / rayon::current_num_threads() as f64;
            timings.push(Timing { start, end, waited: waited.as_secs_f64(), products, allocated });
        }
        progress.step(step, None, run.plan.batch.global, end - start, waited);
    }
    progress.end();
    Ok(timings)
}
