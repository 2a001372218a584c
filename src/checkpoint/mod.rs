//! The run folder: what a run leaves behind, and what it resumes from.
pub mod atomic;
