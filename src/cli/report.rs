//! `dinoflow report`.

use std::path::PathBuf;

use clap::Args;

use crate::checkpoint::atomic::parent;
use crate::error::Error;
use crate::report::page;
use crate::stages::Registry;

/// The arguments of `dinoflow report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// The folders of runs, finished or not; several are laid over each other
    #[arg(value_name = "RUN", required = true)]
    pub folders: Vec<PathBuf>,
    /// The page [default: RUN/report.html, or report.html here for several runs]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl ReportArgs {
    /// Reads the runs and writes their page.
    pub fn run(&self, registry: &Registry) -> Result<(), Error> {
        let out = match (&self.output, &self.folders[..]) {
            (Some(output), _) => output.clone(),
            (None, [folder]) => folder.join("report.html"),
            (None, _) => PathBuf::from("report.html"),
        };
        if self.output.is_some() && (out.is_dir() || !parent(&out).is_dir()) {
            let expected = "expected a file's path in a folder that exists";
            return Err(Error::Request(format!("--output {}: {expected}", out.display())));
        }
        page::write(&self.folders, &out, registry)?;
        super::say(&format!("{}\n", out.display()))
    }
}
