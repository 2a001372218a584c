//! Test inputs and comparisons.
