//! A plan in print: tables and JSON; a graph in pictures: DOT, Mermaid, SVG and JSON.

pub mod diff;
pub mod dot;
mod ends;
pub mod json;
pub mod layout;
pub mod memory;
pub mod mermaid;
mod outline;
mod paint;
pub mod picture;
pub mod svg;
pub mod text;
mod values;
pub mod words;
