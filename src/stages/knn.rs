//! `knn`: weighted nearest-neighbour accuracy of student and teacher during training (section 4.1, appendix F.1).
use std::sync::Arc;

use super::declare::*;
use super::source;
use crate::data::source::Images;
use crate::eval::features::{View, extract};
use crate::eval::knn::{Labelled, classify};
use crate::graph::spec::GraphSpec;
use crate::nn::network::Network;
use crate::optim::schedule::Span;
use crate::runtime::stage::{Event, Inputs, Moment, Outputs, Stage, StageError, Value};
use crate::stages::StageSpec;
use crate::tensor::Device;
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
    /// Also classifies by raw pixels, at step 0, for comparison.
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

/// The running evaluation.
pub struct Running<D: Device> {
    stage: Knn,
    view: View,
    train: Arc<dyn Images>,
    val: Arc<dyn Images>,
    device: D,
}

/// The inputs in their order, by the names that the record gives them.
const NETWORKS: [&str; 2] = ["student", "teacher"];

impl<D: Device> Running<D> {
    /// Opens both sources.
    ///
    /// # Errors
    /// [`StageError::Data`] when a source is not there, has no labels, or the two name their classes differently.
    pub fn new(stage: &Knn, graph: &GraphSpec, device: &D) -> Result<Self, StageError> {
        let open = |spec: &StageSpec| source::open(spec).map_err(|e| StageError::Data(format!("knn: {e}")));
        let (train, val) = (open(&stage.train)?, open(&stage.val)?);
        if train.classes() != val.classes() {
            let (a, b) = (train.classes().len(), val.classes().len());
            return Err(StageError::Data(format!(
                "knn: `train` has {a} classes and `val` {b} or of other names; give both the same class folders"
            )));
        }
        if train.classes().is_empty() {
            return Err(StageError::Data(
                "knn: the pictures have no classes; put each class into a folder of its own, or leave the node out".into(),
            ));
        }
        let crop = stage.crop.unwrap_or(graph.network.backbone.vit().image);
        let collate = super::collate::Collate::default();
        let of_three = |(a, b, c): (f64, f64, f64)| [a as f32, b as f32, c as f32];
        let view = View {
            resize: stage.resize.unwrap_or((crop * 256).div_ceil(224)),
            crop,
            mean: of_three(collate.mean),
            deviation: of_three(collate.deviation),
        };
        Ok(Running { stage: stage.clone(), view, train, val, device: device.clone() })
    }

    fn features(
        &self,
        images: &dyn Images,
        network: Option<&dyn Network<D>>,
    ) -> Result<Labelled, StageError> {
        extract(&self.device, images, self.view, network, self.stage.batch)
    }

    /// A line of the record for each number of neighbours.
    fn judge(
        &self,
        name: &str,
        network: Option<&dyn Network<D>>,
        events: &mut Vec<Event>,
    ) -> Result<(), StageError> {
        let (train, val) =
            (self.features(self.train.as_ref(), network)?, self.features(self.val.as_ref(), network)?);
        for accuracy in classify(&train, &val, &self.stage.k, self.stage.temperature) {
            let fields = serde_json::json!({
                "network": name, "k": accuracy.k, "top1": accuracy.top1, "top5": accuracy.top5,
            });
            if let serde_json::Value::Object(fields) = fields {
                events.push(Event { name: "knn", fields });
            }
        }
        Ok(())
    }
}

impl<D: Device> Stage<D> for Running<D> {
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        if at.step == 0 && self.stage.raw_pixels {
            self.judge("pixels", None, outputs.events)?;
        }
        for (name, input) in NETWORKS.into_iter().zip(inputs.values) {
            if let Some(Value::Weights(network)) = input {
                self.judge(name, Some(network.as_ref()), outputs.events)?;
            }
        }
        Ok(())
    }
}
