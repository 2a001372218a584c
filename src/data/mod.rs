//! Pictures: sources, the sampler's order, decoding, augmentation.
pub mod augment;
pub mod rgb;
pub mod source;
