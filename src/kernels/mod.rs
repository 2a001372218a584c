//! The arithmetic of training, on plain f32 slices.
//!
//! Matrices are row-major and contiguous. `cpu` is what runs: threaded over rayon's pool, vectorised for the
//! processor it finds. `scalar` says the same in the slowest and most obvious way, with the same signatures, and is
//! the oracle of every test. Both overwrite their outputs unless a document says "added to" (`+=`).
//!
//! The same inputs give the same bits on any number of threads: work is cut by shape alone and sums are joined in order.
// the shapes of a kernel are its first arguments; bundling them would hide which is which
#![allow(clippy::too_many_arguments)]

#[cfg(test)]
#[macro_use]
mod probe;

pub mod cpu;
mod family;
mod numbers;
pub mod scalar;

pub use cpu::attention::Dims as AttentionDims;
pub use family::*;
pub use numbers::{Numbers, NumbersMut, Products};
