//! Host stages alone: decoding, crops, collation, on one thread unless more are asked for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::time::Instant;

use super::{Measured, Peaks, Request, Timing, memory};
use crate::kernels::Kernels;
use crate::plan::NodeId;
use crate::runtime::alone::Line;
use crate::runtime::channel::Stopped;
use crate::runtime::execute::Parts;
use crate::runtime::fault::lock;
use crate::runtime::firing::Run;
use crate::runtime::host::Bundle;
use crate::runtime::launch::side_by_side;
use crate::runtime::sequential::Sequential;
use crate::runtime::trace::Span;
use crate::runtime::{Interrupt, RunError};
use crate::tensor::allocator;

/// Steps take turns on the pictures of as many batches as hold this many, so that no single picture's cost is taken for all.
const PICTURES: usize = 64;

/// What is laid ready for a line: a stage before it, the firing, and what it gave.
type Ready<D> = Vec<(NodeId, u64, Bundle<D>)>;

/// What the threads of a line share.
struct Shared<'a> {
    run: &'a Run<'a>,
    line: &'a Line,
    request: &'a Request,
    interrupt: &'a Interrupt,
    /// Firings of the last stage in a step, and the steps whose inputs lie ready.
    per_step: u64,
    turns: u64,
    /// For each step the next of its firings.
    next: Vec<AtomicU64>,
    together: Barrier,
    failed: AtomicBool,
    /// Set by the first thread between two steps alone, so that all see the same.
    stop: AtomicBool,
    timings: Mutex<Vec<Timing>>,
}

/// Times passes over whole batches through the stages that `nodes` names, on what the stages before them gave.
///
/// # Errors
/// [`RunError::Request`] when the stages do not follow one another; else the first cause that ended a thread.
pub fn time<D: Kernels>(
    parts: &Parts<'_, D>,
    request: &Request,
    nodes: &[NodeId],
    interrupt: &Interrupt,
) -> Result<Measured, RunError> {
    let end = request.warmup + request.steps;
    let run = Run::new(parts.plan, parts.horizon, 0..end.max(1), true);
    let threads = request.threads.unwrap_or(1);
    let timings = work(parts, request, nodes, interrupt, &run, threads);
    if let Some(failure) = run.fault.take() {
        return Err(failure.into());
    }
    let timings = timings?;
    let within = |span: &Span| timings.iter().position(|t| t.start <= span.start && span.end <= t.end);
    let spans = run.trace.spans().into_iter().filter_map(|span| Some((within(&span)?, span))).collect();
    let (fused, peak_memory) = (Vec::new(), memory::peak());
    Ok(Measured {
        kernels: Vec::new(),
        spans,
        fused,
        threads,
        peak_memory,
        peaks: Peaks::measure::<D>(parts.device),
        timings,
    })
}

fn work<D: Kernels>(
    parts: &Parts<'_, D>,
    request: &Request,
    nodes: &[NodeId],
    interrupt: &Interrupt,
    run: &Run<'_>,
    threads: usize,
) -> Result<Vec<Timing>, RunError> {
    let failed = |Stopped| RunError::Request("the stages could not be built".into());
    let mut maker = Sequential::<D>::new(run, parts.build).map_err(failed)?;
    let line = maker.line(nodes).ok_or_else(|| {
        RunError::Request(
            "--stage: expected host stages that all lead to one of them, as decode,multi_crop".into(),
        )
    })?;
    let end = request.warmup + request.steps;
    let per_step = run.per_step(run.plan.nodes[line.last.0].rate) as u64;
    let turns = PICTURES.div_ceil(run.plan.batch.global) as u64;
    let turns = turns.min(end).max(1);
    let ready =
        maker.inputs_of(&line, 0..turns * per_step, &mut run.trace.track("before")).map_err(failed)?;
    drop(maker);
    let next = (0..end).map(|_| AtomicU64::new(0)).collect();
    let timings = Mutex::new(Vec::with_capacity(request.steps as usize));
    let (together, failed, stop) = (Barrier::new(threads), AtomicBool::new(false), AtomicBool::new(false));
    let line = &line;
    let shared =
        Shared { run, line, request, interrupt, per_step, turns, next, together, failed, stop, timings };
    // a thread takes what was laid ready for it
    let copies = Mutex::new(vec![ready; threads]);
    side_by_side(threads, |number| {
        // not within the call: the lock would be held as long as it lasts
        let ready = lock(&copies).pop().unwrap_or_default();
        shared.thread(parts, number, ready);
    })?;
    Ok(std::mem::take(&mut *lock(&shared.timings)))
}

impl Shared<'_> {
    /// One thread's part. It takes its place at every barrier also after a failure, so that nobody waits for it in vain.
    fn thread<D: Kernels>(&self, parts: &Parts<'_, D>, number: usize, ready: Ready<D>) {
        let mut track = self.run.trace.track(format!("host {number}"));
        let mut stages = Sequential::<D>::new(self.run, parts.build).ok();
        if let Some(stages) = &mut stages {
            ready.into_iter().for_each(|(node, ticket, bundle)| stages.lay_ready(node, ticket, bundle));
        }
        for (step, next) in (0..).zip(&self.next) {
            self.together.wait();
            if self.stop.load(SeqCst) {
                return;
            }
            let (start, before) = (Instant::now(), allocator::total());
            // nobody starts before the clock of the thread that reads it
            self.together.wait();
            let done = loop {
                let firing = next.fetch_add(1, SeqCst);
                let Some(stages) = stages.as_mut().filter(|_| firing < self.per_step) else { break Ok(()) };
                let ticket = step % self.turns * self.per_step + firing;
                if let Err(stopped) = stages.fire_line(self.line, ticket, &mut track) {
                    break Err(stopped);
                }
            };
            if done.is_err() || stages.is_none() {
                self.failed.store(true, SeqCst);
            }
            self.together.wait();
            if number == 0 {
                let timing = Timing {
                    start,
                    end: Instant::now(),
                    waited: 0.0,
                    products: 0.0,
                    allocated: allocator::total() - before,
                };
                self.timed(step, timing);
            }
        }
    }

    fn timed(&self, step: u64, timing: Timing) {
        if step >= self.request.warmup {
            lock(&self.timings).push(timing);
        }
        if self.failed.load(SeqCst) || self.interrupt.status().is_some() {
            self.stop.store(true, SeqCst);
        }
    }
}
