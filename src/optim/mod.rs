//! Optimizers over named parameters, and the schedules that drive them.
pub mod loss_scale;
pub mod schedule;
