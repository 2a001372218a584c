//! From RON text to a checked specification.
pub mod spec;
