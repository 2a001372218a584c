//! `dinoflow run`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;

use super::device::{self, Work};
use super::{Compute, GraphArg};
use crate::checkpoint::Reuse;
use crate::error::Error;
use crate::graph::load::Loaded;
use crate::graph::report;
use crate::graph::spec::{DeviceChoice, GraphSpec};
use crate::graph::write::to_ron;
use crate::nn::weights::introduce;
use crate::plan::{Plan, explain, fit};
use crate::report::logs::Log;
use crate::report::verdict::Verdict;
use crate::runtime::{self, Interrupt, Options, Outcome, RunError};
use crate::stages::Registry;
use crate::stages::registry::Registered;

/// The arguments of `dinoflow run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub graph: GraphArg,
    /// The run's folder [default: runs/<the graph's name>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Stops after this many updates in total; schedules stay as they are
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Continues from the folder's last checkpoint, or starts where there is none
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Removes what an earlier run wrote into the folder, and nothing else, and starts anew
    #[arg(long)]
    pub overwrite: bool,
    /// Writes a trace of the stages, for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// One thread, stage after stage, to look for faults: the same numbers, more slowly
    #[arg(long)]
    pub sequential: bool,
    /// Logs beside metrics.jsonl, separated by commas
    #[arg(long, value_name = "LOGS", value_enum, value_delimiter = ',', default_value = "tensorboard")]
    pub logs: Vec<Log>,
    #[command(flatten)]
    pub compute: Compute,
}

/// A run, whatever it runs on.
struct Training<'a> {
    plan: &'a Plan,
    registry: &'a Registry,
    text: &'a str,
    options: &'a Options,
    interrupt: &'a Interrupt,
}

impl Work for Training<'_> {
    type Done = Result<Outcome, RunError>;

    fn on<D: Registered>(self, device: &D) -> Self::Done {
        runtime::run(self.plan, self.registry, self.text, device, self.options, self.interrupt)
    }
}

impl RunArgs {
    /// Checks, runs, and says what came of it.
    pub fn run(&self, registry: &Registry) -> Result<(), Error> {
        let loaded = self.graph.load()?;
        let (plan, notes) = super::plan(&loaded, registry)?;
        // a closed standard error leaves nobody to tell
        let _ = report::print(&notes, &loaded.origins);
        if let DeviceChoice::Cuda(_) = plan.graph.device {
            self.fits(&loaded, registry, &plan)?;
        }
        let device = device::open(plan.graph.device)?;
        // a run goes on in the precision that it began with, also on another machine and its device
        let graph = GraphSpec { precision: plan.precision(), device: loaded.asked, ..plan.graph.clone() };
        let text =
            to_ron(&graph).map_err(|e| Error::Failed(format!("the graph can't be written out: {e}")))?;
        let options = self.options(&plan.graph.name);
        self.writable(&options.out)?;
        if !self.resume {
            let begun = introduce(&plan.graph.network).map_err(|e| Error::Request(e.to_string()))?;
            super::say(&begun.map_or(String::new(), |text| format!("{text}\n")))?;
        }
        let interrupt = super::interrupt()?;
        let training =
            Training { plan: &plan, registry, text: &text, options: &options, interrupt: &interrupt };
        let outcome = device.work(training)?;
        self.conclude(&outcome)
    }

    /// Says what the GPU's memory will be used for. A machine that lacks memory swaps, and only gets a note; a GPU fails, so it
    /// is refused.
    fn fits(&self, loaded: &Loaded, registry: &Registry, plan: &Plan) -> Result<(), Error> {
        let Some(memory) = device::memory(plan.graph.device) else { return Ok(()) };
        super::say(&explain::memory::plan(plan, memory))?;
        match fit::problem(loaded, registry, plan, memory) {
            Some(problem) => {
                Err(Error::Graph { problems: vec![problem], origins: Box::new(loaded.origins.clone()) })
            }
            None => Ok(()),
        }
    }

    /// What would otherwise be found out only when hours of training are to be written down.
    fn writable(&self, out: &Path) -> Result<(), Error> {
        if out.exists() && !out.is_dir() {
            return Err(Error::Request(format!("--out {}: a file; expected a folder", out.display())));
        }
        let Some(trace) = &self.trace else { return Ok(()) };
        let folder = trace.parent().filter(|folder| !folder.as_os_str().is_empty());
        if trace.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
            let expected = "expected a file's path in a folder that exists";
            return Err(Error::Request(format!("--trace {}: {expected}", trace.display())));
        }
        Ok(())
    }

    fn options(&self, name: &str) -> Options {
        let reuse = match (self.resume, self.overwrite) {
            (true, _) => Reuse::Resume,
            (_, true) => Reuse::Overwrite,
            _ => Reuse::Refuse,
        };
        Options {
            out: self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(name)),
            reuse,
            steps: self.steps,
            sequential: self.sequential,
            no_fuse: self.compute.no_fuse,
            trace: self.trace.clone(),
            threads: self.compute.threads.map(NonZeroUsize::get),
            logs: self.logs.clone(),
            ..Options::default()
        }
    }

    fn conclude(&self, outcome: &Outcome) -> Result<(), Error> {
        let folder = outcome.folder.display();
        super::say(&format!("{}\n", outcome.summary))?;
        let metrics = outcome.folder.join("metrics.jsonl");
        if let Ok(Some(verdict)) = Verdict::read(&metrics) {
            super::say(&format!("{verdict}\n"))?;
        }
        if outcome.status == 3 {
            let diagnosis = Box::new(outcome.diagnosis.clone());
            return Err(Error::Collapsed { diagnosis, folder: folder.to_string() });
        }
        if outcome.status != 0 {
            return Err(Error::Stopped {
                status: outcome.status,
                step: outcome.step,
                folder: folder.to_string(),
            });
        }
        let graph = self.graph.graph.display();
        super::say(&format!(
            "{} {} in {folder}: report.html, metrics.jsonl, checkpoints/latest\n\
             next: dinoflow run {graph} --out {folder}-2 --set optimizer.lr=…   another value\n\
             \x20     dinoflow graph {graph} --format svg -o graph.svg            the graph as a picture\n",
            outcome.step,
            if outcome.step == 1 { "step" } else { "steps" }
        ))
    }
}
