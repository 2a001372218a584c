//! From RON text to a checked specification.
pub mod architecture;
pub mod spec;
