//! The seam to dfdx: the devices dinoflow trains on, its tape, and tensors whose shape is known only at run time.
//!
//! Everything outside this module and [`crate::kernels`] speaks of tensors through [`Device`]; unsafe code stays here.

pub mod allocator;
mod batched;
mod cpu;
mod crossing;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod device;
mod retention;
mod tape;
mod unwritten;

pub use batched::Batched;
pub use crossing::{Crossing, Travels};
pub use device::{Buffer, Device, Float};
pub use retention::{release_freed_memory, retain_freed_memory};
pub use tape::{BackwardError, GradTape};
