//! Images on their way to the networks: where they come from, in which order, decoded, cropped and augmented.
//!
//! A pure library: nothing here starts a thread, and everything may be called from many threads at once. Crops stay
//! 8-bit until they are collated ([`augment::normalize_into`]).

pub mod augment;
pub mod decode;
pub mod rgb;
pub mod sampler;
pub mod source;
mod wide;

pub use decode::{DecodeError, DecodeOptions, decode};
pub use rgb::Rgb8;
pub use sampler::{Sampler, SamplerError};
