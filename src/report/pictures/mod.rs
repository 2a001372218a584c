//! Pictures of a run: what the networks are shown, and where they look.
pub mod attention;
