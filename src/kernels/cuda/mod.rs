//! The kernels on an NVIDIA GPU: one file a family, as in [`super::cpu`], its sources in `source/`.
//!
//! All kernels go to one stream, dfdx's, in order; nothing waits for it but what hands numbers to the host. Pictures alone come by another
//! stream ([`crops`]).

pub mod attention;
pub mod batch_norm;
mod clock;
pub mod conv;
pub mod convert;
pub mod crops;
mod failure;
pub mod figures;
mod gpu;
mod image;
mod kept;
mod launch;
pub mod layer_norm;
pub mod linear;
pub mod loss;
mod matrix;
pub mod neighbours;
pub mod normalize;
pub mod normed_linear;
pub mod optimizer;
pub mod patch;
pub mod peak;
pub mod pool;
pub mod position;
mod scratch;
mod stream;
pub mod tokens;
mod view;

#[cfg(test)]
pub(crate) mod probe;

pub use gpu::{Gpu, OpenError, count, memory, open};
pub use kept::Kept;
pub use scratch::Memory;
pub use view::{Any, AnyMut, Kind, View, ViewMut};
