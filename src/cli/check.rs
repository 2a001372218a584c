//! `dinoflow check`.

use clap::Args;

use super::GraphArg;
use crate::error::Error;
use crate::graph::report;
use crate::plan::explain;
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
                super::say(&explain::json::plan(&plan, notes))
            }
            Ok((plan, notes)) => {
                super::say(&explain::text::plan(&plan))?;
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
