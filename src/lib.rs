//! dinoflow
pub mod checkpoint;
pub mod data;
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
