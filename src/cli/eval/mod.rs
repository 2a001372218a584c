//! `dinoflow eval`: one file a protocol.

mod knn;
mod outcome;
pub(super) mod subject;

use clap::{Args, Subcommand};

use crate::error::Error;

/// The arguments of `dinoflow eval`.
#[derive(Clone, Debug, Args)]
pub struct EvalArgs {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Clone, Debug, Subcommand)]
enum Protocol {
    /// Weighted votes of nearest neighbours, for several numbers of neighbours (section 4.1)
    Knn(knn::KnnArgs),
}

impl EvalArgs {
    /// Judges a network by one protocol.
    pub fn run(&self) -> Result<(), Error> {
        match &self.protocol {
            Protocol::Knn(args) => args.run(),
        }
    }
}
