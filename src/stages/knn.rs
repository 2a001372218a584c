//! `knn`: weighted nearest-neighbour accuracy of student and teacher during training (section 4.1, appendix F.1).
use crate::optim::schedule::Span;
use crate::stages::StageSpec;
use serde::{Deserialize, Serialize};

/// Classifies held-out pictures by the votes of their nearest training pictures, from the backbone's L2-normalised CLS.
/// Inputs `student?`, `teacher?`: weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knn {
    /// A labelled source whose pictures vote.
    pub train: Box<StageSpec>,
    /// A labelled source whose pictures are classified.
    pub val: Box<StageSpec>,
    /// How often, besides step 0 and the end.
    #[serde(default = "every_epoch")]
    pub every: Span,
    /// Numbers of neighbours.
    #[serde(default = "all_four")]
    pub k: Vec<usize>,
    /// Votes weigh exp(similarity / temperature).
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// The shorter side in pixels after resizing, before the crop; `None` is 256/224 of `crop`.
    #[serde(default)]
    pub resize: Option<usize>,
    /// The side in pixels of the centre crop; `None` is the backbone's image size.
    #[serde(default)]
    pub crop: Option<usize>,
    /// Pictures in the network at once.
    #[serde(default = "batch")]
    pub batch: usize,
    /// Also classifies by raw pixels, once, for comparison.
    #[serde(default)]
    pub raw_pixels: bool,
}

fn every_epoch() -> Span {
    Span::Epochs(1.0)
}
fn all_four() -> Vec<usize> {
    vec![10, 20, 100, 200]
}
fn temperature() -> f64 {
    0.07
}
fn batch() -> usize {
    64
}
