//! The run folder: what a run leaves behind, and what it resumes from.
//!
//! ```text
//! DIR/lock                                held while a run uses the folder
//! DIR/graph.ron                           the resolved graph
//! DIR/metrics.jsonl, DIR/rejected.jsonl   append-only, cut back to the checkpoint's step on resume
//! DIR/log.txt                             the same by epochs, where it was asked for
//! DIR/tensorboard/                        event files, one for each life of the run
//! DIR/pictures/                           crops, attention
//! DIR/timings.json, DIR/report.html       what the run cost, and the page on it
//! DIR/checkpoints/step-00000024/          student, teacher, state (safetensors) and manifest.json
//! DIR/checkpoints/latest                  names the folder to resume from
//! ```
//! Everything but the logs appears whole or not at all, so a run may be killed at any instant.

pub mod atomic;
mod files;
mod folder;
mod kinship;
pub mod leavings;
mod logs;
mod manifest;
mod saved;

pub use files::{Saved, serialize};
pub use folder::{FolderError, Reuse, RunFolder};
pub use kinship::{GraphKeys, differences, graph_keys};
pub use logs::cut_back;
pub use manifest::Manifest;
pub use saved::{Resumed, Snapshot, mark_evaluated, resume, write};

#[cfg(test)]
mod tests;
