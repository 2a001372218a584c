//! What a run tells: its record, its progress, its closing tables.
pub mod count;
pub mod metrics;
pub mod progress;
pub mod rejected;
pub mod tables;
pub mod verdict;
