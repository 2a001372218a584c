//! dinoflow
pub mod checkpoint;
pub mod cli;
pub mod data;
pub mod error;
pub mod eval;
pub mod graph;
pub mod kernels;
pub mod keyed;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod report;
pub mod runtime;
pub mod stages;
pub mod tensor;

pub use cli::main_with;
