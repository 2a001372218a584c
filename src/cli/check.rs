//! `dinoflow check`.

use clap::Args;

use super::GraphArg;
use crate::error::Error;
use crate::graph::report;
use crate::graph::spec::{DeviceChoice, GraphSpec};
use crate::plan::{Plan, build, explain};
use crate::stages::Registry;

/// The arguments of `dinoflow check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    graph: GraphArg,
    /// Prints the plan, or the errors, as JSON for programs
    #[arg(long)]
    json: bool,
}

impl CheckArgs {
    pub fn run(&self, registry: &Registry) -> Result<(), Error> {
        let loaded = self.graph.load()?;
        match super::plan(&loaded, registry) {
            Ok((plan, notes)) if self.json => {
                let notes = notes.iter().map(|note| note.to_json(&loaded.origins)).collect();
                super::say(&explain::json::plan(&plan, elsewhere(&plan, registry).as_ref(), notes))
            }
            Ok((plan, notes)) => {
                super::say(&explain::text::plan(&plan))?;
                if let Some(other) = elsewhere(&plan, registry) {
                    super::say(&explain::text::elsewhere(&other))?;
                }
                // notes are beside the point of a plan that can be piped on
                let _ = report::print(&notes, &loaded.origins);
                Ok(())
            }
            Err(Error::Graph { problems, origins }) => {
                if self.json {
                    super::say(&explain::json::problems(&problems, &origins))?;
                }
                Err(Error::Graph { problems, origins })
            }
            Err(other) => Err(other),
        }
    }
}

/// The same graph on the other kind of device, unless it asks for what that hasn't.
fn elsewhere(plan: &Plan, registry: &Registry) -> Option<Plan> {
    let device = match plan.graph.device {
        DeviceChoice::Cuda(_) => DeviceChoice::Cpu,
        DeviceChoice::Auto | DeviceChoice::Cpu => DeviceChoice::Cuda(0),
    };
    build::build(&GraphSpec { device, ..plan.graph.clone() }, registry).ok()
}
