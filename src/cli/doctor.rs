//! `dinoflow doctor`.

use std::path::PathBuf;

use clap::Args;

use crate::doctor::history::diagnose;
use crate::error::Error;
use crate::stages::Registry;

/// The arguments of `dinoflow doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// The folder of a run, finished or not
    #[arg(value_name = "RUN")]
    pub folder: PathBuf,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

impl DoctorArgs {
    /// Reads the run's graph and record, and says what they tell.
    pub fn run(&self, registry: &Registry) -> Result<(), Error> {
        let diagnosis = diagnose(&self.folder, registry)?;
        super::say(&match self.json {
            true => format!("{:#}\n", diagnosis.to_json()),
            false => format!("{diagnosis}\n"),
        })
    }
}
