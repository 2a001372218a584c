//! `dinoflow eval`: one file a protocol.

mod copy;
mod finetune;
mod knn;
mod linear;
mod logistic;
mod outcome;
mod recipe;
mod retrieval;
mod rows;
pub(super) mod subject;
mod video;

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
    /// Copies of pictures among originals and distractors (Copydays; section 4.2.1)
    Copy(copy::CopyArgs),
    /// The whole network trained on labels, as DeiT is (section 4.3)
    Finetune(finetune::FinetuneArgs),
    /// Weighted votes of nearest neighbours, for several numbers of neighbours (section 4.1)
    Knn(knn::KnnArgs),
    /// A linear classifier on frozen features, by SGD with random crops (section 4.1)
    Linear(linear::LinearArgs),
    /// Regularised logistic regression on frozen features, its strength chosen on pictures held out
    Logistic(logistic::LogisticArgs),
    /// Pictures of the same place (revisited Oxford and Paris; section 4.2.1), or of the same class
    Retrieval(retrieval::RetrievalArgs),
    /// Objects followed through videos (DAVIS 2017; section 4.2.2)
    Video(video::VideoArgs),
}

impl EvalArgs {
    /// Judges a network by one protocol.
    pub fn run(&self) -> Result<(), Error> {
        match &self.protocol {
            Protocol::Copy(args) => args.run(),
            Protocol::Finetune(args) => args.run(),
            Protocol::Knn(args) => args.run(),
            Protocol::Linear(args) => args.run(),
            Protocol::Logistic(args) => args.run(),
            Protocol::Retrieval(args) => args.run(),
            Protocol::Video(args) => args.run(),
        }
    }
}
