//! Pictures of a run: what the networks are shown, and where they look.
pub mod attention;
pub mod crops;
pub mod sheet;
pub mod video;

use crate::data::rgb::Rgb8;

/// A picture that a run keeps in its folder, as `pictures/<name>.png`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    pub name: String,
    pub picture: Rgb8,
}

/// Times that a picture of this side is enlarged so that its pixels can be told apart on a screen.
pub fn times(side: usize) -> usize {
    (96 / side.max(1)).max(1)
}
