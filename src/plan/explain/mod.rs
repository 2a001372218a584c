//! A plan in print: tables and JSON; a graph in pictures: DOT, Mermaid, SVG and JSON.

pub mod json;
pub mod text;
pub mod words;
