//! dinoflow
pub mod data;
pub mod kernels;
pub mod keyed;
