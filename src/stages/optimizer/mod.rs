//! `optimizer`: owns the weights that are trained, and moves them along their gradients.
//!
//! What all optimizers share stands here once: their common parameters ([`recipe`]), the weights with what is kept of their past
//! ([`owned`]), and the running stage ([`running`]), which looks at every gradient before it touches a weight, clips, reads the
//! schedules, leaves a frozen last layer alone, moves the teacher's average along, saves and restores. A variant adds its own
//! parameters and its [`rule::Rule`].

pub mod adamw;
pub mod lars;
pub mod owned;
pub mod recipe;
pub mod rule;
pub mod running;
pub mod sgd;

pub use adamw::AdamW;
pub use lars::Lars;
pub use owned::Trained;
pub use recipe::{Clip, LrScaling};
pub use running::Running;
pub use sgd::Sgd;

#[cfg(test)]
mod tests;
