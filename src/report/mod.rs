//! What a run tells: its record, its progress, its closing tables, its pictures.
//!
//! ```text
//! metrics       metrics.jsonl, an object a line
//! logs          the record and what repeats it for other programs
//! tensorboard   event files
//! epochs        log.txt, as the published script writes it
//! rejected      rejected.jsonl
//! timings       timings.json: what stages cost, how full channels were, and on what machine
//! pictures      crops and attention
//! page          report.html, on one run or several
//! progress, count, tables, verdict   what is said on the terminal
//! ```
pub mod count;
pub mod epochs;
pub mod logs;
pub mod metrics;
pub mod page;
pub mod pictures;
pub mod progress;
pub mod rejected;
pub mod tables;
pub mod tensorboard;
pub mod timings;
pub mod verdict;
