//! Threads, channels and the order of firing. The only place that starts threads.
pub mod build;
pub mod channel;
pub mod convert;
pub mod fault;
pub mod firing;
pub mod host;
pub mod island;
pub mod ledger;
pub mod sequential;
pub mod slots;
pub mod stage;
pub mod threads;
pub mod trace;
