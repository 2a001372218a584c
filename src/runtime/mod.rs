//! Threads, channels and the order of firing. The only place that starts threads.
pub mod stage;
