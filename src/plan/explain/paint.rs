//! Colours, the same in every format.

use colorous::ORANGES;

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

/// The edge of the node that others waited for.
pub const BOTTLENECK: &str = "#c62828";

/// The inside of a node that took this part of a run's time, 0 to 1: white to a strong orange that dark text can still be read on.
pub fn heat(share: f64) -> String {
    let color = ORANGES.eval_continuous(0.55 * share.clamp(0.0, 1.0).sqrt());
    format!("#{color:x}")
}
