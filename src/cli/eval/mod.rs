//! `dinoflow eval`: one file a protocol.

mod knn;
mod linear;
mod logistic;
mod outcome;
mod rows;
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
    /// A linear classifier on frozen features, by SGD with random crops (section 4.1)
    Linear(linear::LinearArgs),
    /// Regularised logistic regression on frozen features, its strength chosen on pictures held out
    Logistic(logistic::LogisticArgs),
}

impl EvalArgs {
    /// Judges a network by one protocol.
    pub fn run(&self) -> Result<(), Error> {
        match &self.protocol {
            Protocol::Knn(args) => args.run(),
            Protocol::Linear(args) => args.run(),
            Protocol::Logistic(args) => args.run(),
        }
    }
}
