//! What a run tells: its record, its progress, its closing tables.
pub mod metrics;
pub mod pictures;
pub mod progress;
pub mod rejected;
pub mod tables;
pub mod verdict;
