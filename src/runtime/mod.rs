//! Threads, channels and the order of firing. The only place that starts threads.
//!
//! [`run`] opens a plan's data and hands it to [`execute::execute`], which owns the run folder; [`launch`] starts the threads. Host stages
//! ([`threads`], or [`sequential`] in their place) feed the [`island`], whose one thread fires every other stage; all of them share
//! the [`cores`]. Between two steps [`drive`] records, evaluates and saves. [`crate::bench`] launches the same stages without a folder;
//! [`alone`] fires some of them by themselves.
pub mod account;
pub mod alone;
pub mod arrivals;
pub mod build;
pub mod channel;
pub mod convert;
pub mod cores;
pub mod drive;
pub mod execute;
pub mod fault;
pub mod firing;
pub mod host;
pub mod island;
pub mod later;
pub mod launch;
pub mod ledger;
pub mod options;
pub mod records;
pub mod save;
pub mod sequential;
pub mod signal;
pub mod slots;
pub mod stage;
pub mod threads;
pub mod trace;
pub mod watch;

#[cfg(test)]
mod doubles;
#[cfg(test)]
mod real_tests;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::Arc;

use crate::data::Sampler;
use crate::optim::schedule::{Horizon, Span};
use crate::plan::Plan;
use crate::report::page;
use crate::report::rejected::Rejections;
use crate::stages::registry::{Registered, Registry};
use crate::stages::source::{self, Pictures};
use crate::stages::{Role, StageSpec};
use crate::tensor::{Crossing, retain_freed_memory};

pub use options::{Options, Outcome, RunError};
pub use signal::Interrupt;

/// Trains a checked plan on a device, in a run folder. `graph` is the resolved graph's text, which the folder keeps.
///
/// # Errors
/// [`RunError::Request`] before the first step when the data is not there or too small for a batch; else what
/// [`execute::execute`] says.
pub fn run<D: Registered>(
    plan: &Plan,
    registry: &Registry,
    graph: &str,
    device: &D,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<Outcome, RunError> {
    retain_freed_memory();
    device.allow_tf32(plan.graph.tf32);
    let device = Crossing::of(device);
    let (pictures, horizon) = open(plan)?;
    let build =
        build::Workshop { plan, device, pictures: Some(&pictures), registry, statistics: Default::default() };
    let parts =
        execute::Parts { plan, graph, horizon, device, build: &build, rejections: &pictures.rejections };
    let ended = execute::execute(&parts, options, interrupt);
    if matches!(ended, Ok(_) | Err(RunError::Failed(_))) {
        let page = options.out.join("report.html");
        // the run is what counts: a page that can't be written can be asked for again, and so with who would be told
        if let Err(error) = page::write(std::slice::from_ref(&options.out), &page, registry) {
            let _ = writeln!(std::io::stderr(), "no report: {error}");
        }
    }
    ended
}

/// Opens the plan's source, whose size settles the run's lengths.
///
/// # Errors
/// [`RunError::Request`] when there is none, or when it does not hold the pictures of one step.
pub fn open(plan: &Plan) -> Result<(Pictures, Horizon), RunError> {
    let graph = &plan.graph;
    let Some(node) = plan.nodes.iter().find(|node| node.role == Role::Source) else {
        return Err(RunError::Request(
            "the graph has no source: add a node of a stage like Folder(root: \"…\")".into(),
        ));
    };
    let refused = |error: String| RunError::Request(format!("{}: {error}", node.name));
    let images = source::open(&node.stage).map_err(|e| refused(e.to_string()))?;
    let sampler =
        Sampler::new(graph.seed, images.len(), graph.global_batch).map_err(|e| refused(e.to_string()))?;
    let strict =
        plan.nodes.iter().any(|node| matches!(&node.stage, StageSpec::Decode(decode) if decode.strict));
    let (sampler, rejections) = (Arc::new(sampler), Arc::new(Rejections::default()));
    let horizon = horizon(plan, sampler.steps_per_epoch());
    Ok((Pictures { images, sampler, seed: graph.seed, strict, rejections }, horizon))
}

fn horizon(plan: &Plan, steps_per_epoch: u64) -> Horizon {
    let epoch = Horizon { steps_per_epoch, total_steps: 0 };
    let total_steps = match plan.graph.duration {
        Span::Steps(steps) => steps,
        other => other.steps(epoch),
    };
    Horizon { steps_per_epoch, total_steps }
}
