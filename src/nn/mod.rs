//! Networks: compile-time-shaped modules of typed dfdx parameters, and the one place that turns a name into a type.
pub mod network;
