//! Runs a plan with stages of anyone's making, in a run folder.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::build::Build;
use super::channel::Stopped;
use super::cores;
use super::drive::{Drive, Reached};
use super::firing::Run;
use super::launch::{Layout, launch};
use super::options::{Options, Outcome, RunError};
use super::records::Records;
use super::signal::Interrupt;
use crate::checkpoint::{self, FolderError, GraphKeys, Resumed, Reuse, RunFolder, atomic};
use crate::doctor::Doctor;
use crate::kernels::Kernels;
use crate::kernels::cpu::instructions;
use crate::optim::schedule::Horizon;
use crate::plan::Plan;
use crate::report::logs::Logs;
use crate::report::progress::Progress;
use crate::report::rejected::Rejections;
use crate::report::timings::{Ended, Environment};
use crate::tensor::Crossing;

/// The exit status of a run that was stopped because training has collapsed.
const COLLAPSED: u8 = 3;

/// What a run is made of.
pub struct Parts<'a, D: Kernels> {
    pub plan: &'a Plan,
    /// The text of `graph.ron`.
    pub graph: &'a str,
    pub horizon: Horizon,
    pub device: &'a Crossing<D>,
    pub build: &'a dyn Build<D>,
    pub rejections: &'a Rejections,
}

/// Runs the steps that are left, from the newest checkpoint when asked to.
///
/// # Errors
/// When the folder can't be used, or with the first cause that ended a thread.
pub fn execute<D: Kernels>(
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
    let mut doctor = Doctor::new(parts.plan).lasting(total);
    doctor.read(&folder.metrics()).map_err(file(&folder.metrics()))?;
    let (start, environment) = (Instant::now(), environment(parts, options));
    let device = parts.device;
    let epoch = parts.horizon.steps_per_epoch;
    let mut logs = Logs::open(&folder, &options.logs, first, epoch)?;
    let progress = Progress::new(options.show, first, end);
    if let Some(resumed) = &resumed {
        logs.repeat(first, &resumed.snapshot.saved.files)?;
        resumed.passed_over.iter().for_each(|line| progress.say(&format!("passed over {line}")));
        progress.say(&format!("resumed at step {first}"));
    }
    let mut run = Run::new(parts.plan, parts.horizon, first..end, options.trace.is_some());
    run.fuse = !options.no_fuse;
    let mut records = Records {
        folder: &folder,
        keys: &keys,
        logs,
        rejections: parts.rejections,
        progress,
        doctor,
        start,
        environment,
        device_peak: Box::new(|| device.peak_memory()),
        reached: Reached { step: first, ..Reached::default() },
    };
    let layout = Layout { sequential: options.sequential, threads: options.threads };
    let ended = launch(&run, parts, layout, |island, feed| {
        go(Drive { run: &run, island, feed, records: &mut records, interrupt }, resumed)
    });
    conclude(&run, &mut records, options, ended)
}

/// Writes down how the run ended: its trace and its account, also of one that failed.
fn conclude(
    run: &Run<'_>,
    records: &mut Records<'_>,
    options: &Options,
    ended: Result<Reached, RunError>,
) -> Result<Outcome, RunError> {
    records.progress.end();
    // the trace of a failed run is the one that is wanted most, but its failure is what counts
    let name = |actor| run.name(actor);
    let traced =
        options.trace.as_ref().map_or(Ok(()), |path| run.trace.write(path, name).map_err(file(path)));
    let status = |reached: &Reached| reached.status.unwrap_or(if reached.collapsed { COLLAPSED } else { 0 });
    let end = match &ended {
        Ok(reached) => {
            records.reached = *reached;
            Ended { status: status(reached), failure: None }
        }
        Err(error) => Ended { status: error.status(), failure: Some(error.to_string()) },
    };
    let accounted = records.write_timings(run, Some(end)).map_err(file(&records.folder.timings()));
    let reached = ended?;
    traced.and(accounted)?;
    Ok(Outcome {
        status: status(&reached),
        diagnosis: records.doctor.diagnosis(),
        step: reached.step,
        folder: records.folder.path().to_owned(),
        summary: records.summary(run),
    })
}

/// What the run is on.
fn environment<D: Kernels>(parts: &Parts<'_, D>, options: &Options) -> Environment {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Horizon { steps_per_epoch, total_steps } = parts.horizon;
    Environment {
        version: env!("CARGO_PKG_VERSION").into(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        device: parts.device.name(),
        // judged when the program started: a test that did not has no word for it
        instructions: instructions().map(|isa| isa.word().into()).unwrap_or_default(),
        precision: format!("{:?}", parts.plan.precision()).to_lowercase(),
        threads: cores::threads(options.threads),
        cores: cores::threads(None),
        pictures_an_epoch: steps_per_epoch * parts.plan.batch.global as u64,
        steps_an_epoch: steps_per_epoch,
        total_steps,
        started: now.as_secs(),
    }
}

/// All steps, from where the run began or was left.
fn go<D: Kernels>(mut drive: Drive<'_, '_, D>, resumed: Option<Resumed>) -> Result<Reached, Stopped> {
    let (known, evaluated) = (resumed.is_some(), resumed.as_ref().is_some_and(|r| r.snapshot.evaluated));
    match resumed {
        Some(resumed) => drive.island.restore(resumed.snapshot.saved, resumed.snapshot.step)?,
        None => drive.island.first()?,
    }
    drive.steps(known, evaluated)
}

/// Finds where the run goes on, and cuts the logs back to there.
fn go_on(folder: &RunFolder, keys: &GraphKeys) -> Result<Option<Resumed>, RunError> {
    let resumed = checkpoint::resume(folder, keys)?;
    let (step, evaluated) = resumed.as_ref().map_or((0, false), |r| (r.snapshot.step, r.snapshot.evaluated));
    folder.forget_pictures(step, evaluated)?;
    for log in [folder.metrics(), folder.rejected()] {
        checkpoint::cut_back(&log, step, evaluated).map_err(file(&log))?;
    }
    Ok(resumed)
}

fn write(path: &Path, text: &str) -> Result<(), RunError> {
    atomic::write(path, |out| out.write_all(text.as_bytes())).map_err(file(path))
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> RunError {
    let path = path.to_owned();
    |source| RunError::Folder(FolderError::File { path, source })
}
