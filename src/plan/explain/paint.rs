//! Colours, the same in every format.

use super::picture::{Outline, State};
use crate::plan::EdgeKind;

/// A node's inside.
pub fn fill(state: State, shape: Outline) -> &'static str {
    match (state, shape) {
        (State::Missing, _) => "#fdecea",
        (State::Added, _) => "#e3f4e1",
        (State::Removed, _) => "#f0f0f0",
        (State::Changed, _) => "#fff3d6",
        (State::Plain, Outline::Cylinder) => "#eceff1",
        (State::Plain, Outline::Slanted) => "#e3ecf7",
        (State::Plain, Outline::Hexagon) => "#e6e0f4",
        (State::Plain, Outline::Ellipse) => "#dff1f0",
        (State::Plain, Outline::Octagon) => "#fbe6dc",
        (State::Plain, Outline::House) => "#fdf3d0",
        (State::Plain, Outline::Note) => "#e8f3dc",
        (State::Plain, Outline::Box) => "#f4f4f4",
    }
}

/// A node's edge, or a wire.
pub fn stroke(state: State, kind: EdgeKind) -> &'static str {
    match (state, kind) {
        (State::Missing, _) => "#c62828",
        (State::Added, _) => "#2e7d32",
        (State::Removed, _) => "#9e9e9e",
        (State::Changed, _) => "#c77700",
        (State::Plain, EdgeKind::Forward) => "#37474f",
        (State::Plain, EdgeKind::Feedback) => "#3f51b5",
        (State::Plain, EdgeKind::Gradient) => "#ad1457",
    }
}
