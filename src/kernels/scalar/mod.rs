//! The slow, obvious twin of every kernel: no threads, no unsafe code, sums in f64.
// an index says more about a formula than an iterator does
#![allow(clippy::needless_range_loop)]

pub mod attention;
pub mod batch_norm;
pub mod conv;
pub mod figures;
pub mod layer_norm;
pub mod linear;
pub mod loss;
pub mod matrix;
pub mod neighbours;
pub mod normalize;
pub mod normed_linear;
mod numbers;
pub mod optimizer;
pub mod patch;
pub mod pool;
pub mod position;
