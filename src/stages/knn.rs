//! `knn`: weighted nearest-neighbour accuracy of student and teacher during training (section 4.1, appendix F.1).
use super::declare::*;
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

impl Declare for Knn {
    fn role(&self) -> Role {
        Role::Knn
    }

    fn rate(&self) -> Rate {
        Rate::Barrier
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![
                Port::new("student", "the student's weights").optional(),
                Port::new("teacher", "the teacher's weights").optional(),
            ],
            outputs: vec![],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut problems: Vec<_> = [
            Problem::unless(
                !self.k.is_empty() && !self.k.contains(&0),
                "k",
                format!("{:?}", self.k),
                "numbers of at least 1",
            ),
            Problem::unless(
                self.temperature > 0.0 && self.temperature.is_finite(),
                "temperature",
                self.temperature,
                "a number above 0",
            ),
            Problem::unless(self.batch > 0, "batch", self.batch, "at least 1"),
        ]
        .into_iter()
        .flatten()
        .collect();
        problems.extend(Problem::of_span("every", self.every, scope));
        for (key, source) in [("train", &self.train), ("val", &self.val)] {
            let is_source = source.built_in().is_some_and(|s| s.role() == Role::Source);
            problems.extend(Problem::unless(
                is_source,
                key,
                "a stage of another role",
                "a source: Folder, List, Shards or Synthetic",
            ));
        }
        let patch = scope.graph.network.backbone.vit().patch;
        if let Some(crop) = self.crop.filter(|crop| *crop == 0 || crop % patch != 0) {
            problems.extend(Problem::unless(
                false,
                "crop",
                crop,
                &format!("a multiple of the patch, {patch}"),
            ));
        }
        problems
    }

    fn infer(&self, _: &Scope, _: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        Ok(vec![])
    }
}
