//! `dinoflow ablate`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::Compute;
use super::device::{self, Work};
use crate::ablate::variant::Refused;
use crate::ablate::work::{self, Request};
use crate::ablate::{self, Ablation};
use crate::error::Error;
use crate::graph::report;
use crate::graph::spec::DeviceChoice;
use crate::runtime::{Interrupt, Options};
use crate::stages::Registry;
use crate::stages::registry::Registered;

/// The arguments of `dinoflow ablate`.
#[derive(Clone, Debug, Args)]
pub struct AblateArgs {
    /// The ablation file: a graph, its variants, seeds
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The ablation's folder [default: runs/<the file's name>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Skips runs that are finished and goes on with others
    #[arg(long)]
    pub resume: bool,
    /// Runs these variants alone
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    #[command(flatten)]
    pub compute: Compute,
}

/// All runs of an ablation, whatever they run on.
struct Runs<'a> {
    ablation: &'a Ablation,
    request: &'a Request,
    registry: &'a Registry,
    interrupt: &'a Interrupt,
}

impl Work for Runs<'_> {
    type Done = Result<(), Error>;

    fn on<D: Registered>(self, device: &D) -> Self::Done {
        work::run(self.ablation, self.request, self.registry, device, self.interrupt)
    }
}

impl AblateArgs {
    /// Checks every variant, runs them, and reports.
    pub fn run(&self, registry: &Registry) -> Result<(), Error> {
        let ablation = Ablation::read(&self.file, registry, device::settled(DeviceChoice::Auto))?
            .map_err(|refused| self.refuse(&refused))?;
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&ablation.name));
        let options = Options {
            threads: self.compute.threads.map(NonZeroUsize::get),
            no_fuse: self.compute.no_fuse,
            ..Options::default()
        };
        let request = Request { out: out.clone(), resume: self.resume, only: self.only.clone(), options };
        let variants = ablation.only(&self.only)?;
        let choices = variants.iter().flat_map(|variant| &variant.runs).map(|run| run.plan.graph.device);
        // an ablation is one graph's, so all its variants want the same device unless one sets another
        let devices = choices.map(device::open).collect::<Result<Vec<_>, _>>()?;
        let Some(device) = devices.first() else { return Ok(()) };
        let interrupt = super::interrupt()?;
        device.work(Runs { ablation: &ablation, request: &request, registry, interrupt: &interrupt })?;
        let outcomes = ablate::report(&ablation, &out, registry)?;
        for outcome in &outcomes {
            super::say(&format!("{}: {}\n", outcome.name, outcome.line()))?;
        }
        let folder = out.display();
        super::say(&format!("report.html and report.md in {folder}\n"))?;
        if let Some(status) = interrupt.status() {
            return Err(Error::AblationStopped { status, folder: folder.to_string() });
        }
        let failed = outcomes.iter().flat_map(|outcome| &outcome.runs);
        match failed.filter(|run| run.kept.as_ref().is_some_and(|kept| kept.error.is_some())).count() {
            0 => Ok(()),
            1 => Err(Error::Failed("1 run failed; the report says which".into())),
            failed => Err(Error::Failed(format!("{failed} runs failed; the report says which"))),
        }
    }

    /// Shows what is wrong with each variant.
    fn refuse(&self, refused: &[Refused]) -> Error {
        for one in refused {
            // a closed standard error leaves nobody to tell; the exit status still does
            eprintln!("variant `{}` of {}:", one.variant, self.file.display());
            let _ = report::print(&one.problems, &one.origins);
        }
        let names: Vec<String> = refused.iter().map(|one| format!("`{}`", one.variant)).collect();
        Error::Request(format!("{} can't run; nothing was run", names.join(", ")))
    }
}
