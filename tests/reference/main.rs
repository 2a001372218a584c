//! Numbers that an independent implementation computed in float64: dinoflow's own stages must reproduce them.
//!
//! Reads `tests/fixtures`, or the folder in `DINOFLOW_FIXTURES`: any files of the same names and forms.

mod augment;
mod backbones;
#[cfg(feature = "cuda")]
mod cuda;
mod fixture;
mod instructions;
mod knn;
mod positions;
mod schedules;
mod trajectories;
