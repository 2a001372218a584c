//! From RON text to a checked specification.
pub mod check;
pub mod edit;
pub mod lex;
pub mod load;
pub mod origin;
pub mod parse;
pub mod preset;
pub mod problem;
pub mod read;
pub mod report;
pub mod resnet;
pub mod shipped;
pub mod spec;
pub mod tree;
pub mod write;
