//! Threads, channels and the order of firing. The only place that starts threads.
pub mod build;
pub mod channel;
pub mod convert;
pub mod drive;
pub mod execute;
pub mod fault;
pub mod firing;
pub mod host;
pub mod island;
pub mod ledger;
pub mod options;
pub mod save;
pub mod sequential;
pub mod signal;
pub mod slots;
pub mod stage;
pub mod threads;
pub mod trace;

#[cfg(test)]
mod doubles;
#[cfg(test)]
mod tests;
