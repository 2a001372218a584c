//! Runs a plan with stages of anyone's making, in a run folder.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::build::Build;
use super::channel::Stopped;
use super::drive::{Drive, Reached, Records};
use super::fault::{Cause, Failure, guard, lock};
use super::firing::Run;
use super::host::Feed;
use super::island::Island;
use super::options::{Options, Outcome, RunError};
use super::sequential::Sequential;
use super::signal::Interrupt;
use super::stage::StageError;
use super::threads;
use crate::checkpoint::{self, FolderError, GraphKeys, Resumed, Reuse, RunFolder, atomic};
use crate::optim::schedule::Horizon;
use crate::plan::{Place, Plan};
use crate::report::metrics::Recorder;
use crate::report::progress::Progress;
use crate::report::rejected::Rejections;
use crate::report::tables::{ChannelUse, StageTime, Summary};
use crate::tensor::Device;

/// The island's stack: kernels may recurse over a network's depth.
const STACK: usize = 16 << 20;

/// What a run is made of.
pub struct Parts<'a, D: Device> {
    pub plan: &'a Plan,
    /// The text of `graph.ron`.
    pub graph: &'a str,
    pub horizon: Horizon,
    pub device: &'a D,
    pub build: &'a dyn Build<D>,
    pub rejections: &'a Rejections,
}

/// Runs the steps that are left, from the newest checkpoint when asked to.
///
/// # Errors
/// When the folder can't be used, or with the first cause that ended a thread.
pub fn execute<D: Device>(
    parts: &Parts<'_, D>,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<Outcome, RunError> {
    let folder = RunFolder::open(&options.out, options.reuse)?;
    let keys = checkpoint::graph_keys(&parts.plan.graph)
        .map_err(|e| RunError::Request(format!("the graph can't be written out: {e}")))?;
    let resumed = if options.reuse == Reuse::Resume { go_on(&folder, &keys)? } else { None };
    write(&folder.graph(), parts.graph)?;
    let first = resumed.as_ref().map_or(0, |resumed| resumed.snapshot.step);
    let total = parts.horizon.total_steps;
    let end = options.steps.map_or(total, |steps| steps.min(total)).max(first);
    let recorder = Recorder::open(&folder.metrics()).map_err(file(&folder.metrics()))?;
    let progress = Progress::new(options.show, first, end);
    if let Some(resumed) = &resumed {
        resumed.passed_over.iter().for_each(|line| progress.say(&format!("passed over {line}")));
        progress.say(&format!("resumed at step {first}"));
    }
    let mut run = Run::new(parts.plan, parts.horizon, first..end, options.trace.is_some());
    run.fuse = !options.no_fuse;
    let mut records =
        Records { folder: &folder, keys: &keys, recorder, rejections: parts.rejections, progress };
    let start = Instant::now();
    let ended = on_threads(&run, parts, options, interrupt, &mut records, resumed)?;
    records.progress.end();
    // the trace of a failed run is the one that is wanted most, but its failure is what counts
    let traced = options.trace.as_ref().map_or(Ok(()), |path| run.trace.write(path).map_err(file(path)));
    let reached = conclude(&run, ended)?;
    traced?;
    let summary = summary(&run, &reached, start.elapsed());
    let status = reached.status.unwrap_or(0);
    Ok(Outcome { status, step: reached.step, folder: folder.path().to_owned(), summary })
}

/// Finds where the run goes on, and cuts the logs back to there.
fn go_on(folder: &RunFolder, keys: &GraphKeys) -> Result<Option<Resumed>, RunError> {
    let resumed = checkpoint::resume(folder, keys)?;
    let (step, evaluated) = resumed.as_ref().map_or((0, false), |r| (r.snapshot.step, r.snapshot.evaluated));
    for log in [folder.metrics(), folder.rejected()] {
        checkpoint::cut_back(&log, step, evaluated).map_err(file(&log))?;
    }
    Ok(resumed)
}

/// The host stages on their threads and the island on its own, until all of them are done.
fn on_threads<'a, D: Device>(
    run: &'a Run<'a>,
    parts: &'a Parts<'a, D>,
    options: &Options,
    interrupt: &Interrupt,
    records: &mut Records<'a>,
    resumed: Option<Resumed>,
) -> Result<Result<Reached, Stopped>, RunError> {
    let pool = options
        .threads
        .map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK).build());
    let pool = pool.transpose().map_err(|e| RunError::Threads(e.to_string()))?;
    thread::scope(|scope| {
        let feed =
            if options.sequential { Ok(None) } else { threads::start(run, parts.build, scope).map(Some) };
        let island = move || {
            let feed = feed.map(|feed| feed.map(|feed| Box::new(feed) as Box<dyn Feed<D> + Send + 'a>));
            let mut reached = Err(Stopped);
            let work = || {
                let result = guard(|| {
                    reached = feed.and_then(|feed| island(run, parts, feed, interrupt, records, resumed));
                    Ok(())
                });
                if let Err(cause) = result {
                    run.fail("runtime".into(), run.steps.start, cause);
                }
            };
            match &pool {
                Some(pool) => pool.install(work),
                None => work(),
            }
            // those that wait for room wait no longer
            run.fault.stop();
            reached
        };
        let island =
            thread::Builder::new().name("island".into()).stack_size(STACK).spawn_scoped(scope, island);
        match island {
            Ok(island) => Ok(island.join().unwrap_or(Err(Stopped))),
            Err(error) => {
                run.fault.stop();
                Err(RunError::Threads(error.to_string()))
            }
        }
    })
}

/// The island's thread.
fn island<'a, D: Device>(
    run: &'a Run<'a>,
    parts: &'a Parts<'a, D>,
    feed: Option<Box<dyn Feed<D> + Send + 'a>>,
    interrupt: &Interrupt,
    records: &mut Records<'a>,
    resumed: Option<Resumed>,
) -> Result<Reached, Stopped> {
    let mut island = Island::new(run, parts.device, parts.build, run.trace.track("island"))?;
    let feed: Box<dyn Feed<D> + 'a> = match feed {
        Some(feed) => feed,
        None => Box::new(Sequential::new(run, parts.build)?),
    };
    let (known, evaluated) = (resumed.is_some(), resumed.as_ref().is_some_and(|r| r.snapshot.evaluated));
    match resumed {
        Some(resumed) => island.restore(resumed.snapshot.saved, resumed.snapshot.step)?,
        None => island.first()?,
    }
    Drive { run, island, feed, records, interrupt }.steps(known, evaluated)
}

/// The first cause, if the run did not end in order.
fn conclude(run: &Run<'_>, ended: Result<Reached, Stopped>) -> Result<Reached, RunError> {
    match (run.fault.take(), ended) {
        (Some(failure), _) => Err(failure.into()),
        (None, Ok(reached)) => Ok(reached),
        (None, Err(Stopped)) => {
            let cause = Cause::Error(StageError::Bug("the host stages ended early".into()));
            Err(Failure { node: "runtime".into(), step: run.steps.start, cause }.into())
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), RunError> {
    atomic::write(path, |out| out.write_all(text.as_bytes())).map_err(file(path))
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> RunError {
    let path = path.to_owned();
    |source| RunError::Folder(FolderError::File { path, source })
}

fn summary(run: &Run<'_>, reached: &Reached, wall: Duration) -> Summary {
    let gauges = lock(&run.gauges).clone();
    let halves = run.plan.nodes.iter().zip(&run.meters).flat_map(|(node, [forward, backward])| {
        [(node, node.name.clone(), forward), (node, format!("{}/backward", node.name), backward)]
    });
    let stages = halves.filter(|(_, _, meter)| meter.firings() > 0).map(|(node, name, meter)| StageTime {
        name,
        workers: if let Place::Host { workers } = node.place { workers.max(1) } else { 1 },
        firings: meter.firings(),
        busy: meter.busy(),
        waited: gauges.iter().fold(Duration::ZERO, |sum, gauge| {
            let received = if gauge.to == node.name { gauge.receive_wait() } else { Duration::ZERO };
            let sent = if gauge.from == node.name { gauge.send_wait() } else { Duration::ZERO };
            sum + received + sent
        }),
    });
    let channels = gauges.iter().map(|gauge| ChannelUse {
        from: gauge.from.clone(),
        to: gauge.to.clone(),
        capacity: gauge.capacity,
        values: gauge.count(),
        occupancy: gauge.occupancy(),
        send_wait: gauge.send_wait(),
        receive_wait: gauge.receive_wait(),
    });
    let steps = reached.step - run.steps.start;
    Summary {
        wall,
        steps,
        images: steps * run.plan.batch.global as u64,
        data_wait: reached.data_wait,
        rejected: reached.rejected,
        stages: stages.collect(),
        channels: channels.collect(),
    }
}
