//! `dinoflow bench`.

use std::num::NonZeroUsize;

use clap::Args;

use super::device::{self, Work};
use super::{Compute, GraphArg};
use crate::bench::report::Report;
use crate::bench::{Request, bench};
use crate::error::Error;
use crate::graph::problem::Diagnostic;
use crate::graph::report;
use crate::plan::Plan;
use crate::runtime::{Interrupt, RunError};
use crate::stages::Registry;
use crate::stages::registry::Registered;

/// The arguments of `dinoflow bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    graph: GraphArg,
    #[command(flatten)]
    compute: Compute,
    /// Steps that are timed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps: u64,
    /// Steps before them that are not
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    warmup: u64,
    /// Times these stages alone, on what a real step hands them: host stages (decode,multi_crop) on one thread unless --threads says
    /// more, others (student,loss) as in a step
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    stage: Vec<String>,
    /// Makes the first step's crops once and feeds them again: the step alone is timed
    #[arg(long)]
    no_data: bool,
    /// Times every kernel of one step more, where the graph runs on a GPU
    #[arg(long, conflicts_with = "stage")]
    kernels: bool,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// A benchmark, whatever it runs on.
struct Timing<'a> {
    plan: &'a Plan,
    registry: &'a Registry,
    request: &'a Request,
    interrupt: &'a Interrupt,
}

impl Work for Timing<'_> {
    type Done = Result<Report, RunError>;

    fn on<D: Registered>(self, device: &D) -> Self::Done {
        bench(self.plan, self.registry, device, self.request, self.interrupt)
    }
}

impl BenchArgs {
    /// Times, and prints what came of it.
    pub fn run(&self, registry: &Registry) -> Result<(), Error> {
        let loaded = self.graph.load()?;
        let (plan, mut notes) = super::plan(&loaded, registry)?;
        notes.extend(super::memory_problem(&loaded, registry, &plan).map(Diagnostic::as_note));
        // a closed standard error leaves nobody to tell
        let _ = report::print(&notes, &loaded.origins);
        let device = device::open(plan.graph.device)?;
        let interrupt = super::interrupt()?;
        let request = Request {
            steps: self.steps,
            warmup: self.warmup,
            stages: self.stage.clone(),
            no_data: self.no_data,
            threads: self.compute.threads.map(NonZeroUsize::get),
            no_fuse: self.compute.no_fuse,
            kernels: self.kernels,
        };
        let timing = Timing { plan: &plan, registry, request: &request, interrupt: &interrupt };
        let found = device.work(timing)?;
        if !found.steps.is_empty() {
            super::say(&if self.json { format!("{}\n", found.to_json()) } else { found.to_string() })?;
        }
        match interrupt.status() {
            Some(status) => Err(Error::Interrupted { status }),
            None => Ok(()),
        }
    }
}
