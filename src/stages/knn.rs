//! `knn`: weighted nearest-neighbour accuracy of student and teacher during training (section 4.1, appendix F.1).
use std::collections::BTreeMap;
use std::sync::Arc;

use super::declare::*;
use super::onlooker::{self, NETWORKS};
use super::range::Ranges;
use super::source;
use crate::data::source::Images;
use crate::eval::features::{Judged, Unreadable, extract, pixels};
use crate::eval::knn::{Accuracy, classify, classify_on};
use crate::eval::view::View;
use crate::graph::spec::{DeviceChoice, GraphSpec};
use crate::kernels::{Kernels, MOST_PRODUCTS};
use crate::nn::statistics::Averages;
use crate::nn::weights::failed;
use crate::optim::schedule::Span;
use crate::plan::cost;
use crate::report::rejected::{LeftOut, Rejections};
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

impl Knn {
    /// The side of the centre crop for a backbone laid out for images of this side.
    pub fn crop_side(&self, image: usize) -> usize {
        self.crop.unwrap_or(image)
    }
}

impl Declare for Knn {
    fn role(&self) -> Role {
        Role::Knn
    }

    fn rate(&self) -> Rate {
        Rate::Barrier
    }

    fn every(&self) -> Option<Span> {
        Some(self.every)
    }

    fn ports(&self) -> Ports {
        onlooker::ports()
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        source::judge_nested(TRAIN, &self.train, &mut ranges, scope);
        source::judge_nested(VAL, &self.val, &mut ranges, scope);
        ranges.every("every", self.every);
        if self.k.is_empty() {
            ranges.push(Problem::parameter("k", "at least one number of neighbours", "none"));
        }
        let voters = self.train.built_in().and_then(Declare::images).unwrap_or(usize::MAX);
        for (index, k) in self.k.iter().enumerate() {
            ranges.count_by(TRAIN, &format!("k.{index}"), *k, 1, voters);
        }
        ranges.number("temperature", self.temperature, |t| t > 0.0 && t < 1e6, "a number above 0");
        ranges.count("batch", self.batch, 1, 1 << 20);
        onlooker::judge_view(self.crop, self.resize, &mut ranges, scope);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        onlooker::infer(given)
    }

    fn cost(&self, scope: &Scope, _given: &Given) -> Cost {
        let network = &scope.graph.network;
        let images = |stage: &StageSpec| stage.built_in().and_then(Declare::images).unwrap_or(0) as f64;
        let features = (images(&self.train) + images(&self.val)) * network.backbone.width() as f64;
        let side = self.crop_side(network.backbone.image());
        let pass = self.batch as f64 * cost::crop_untraced(network, scope.graph.products(), side);
        // a GPU compares many at once, when the features are there
        let search = match scope.graph.device {
            DeviceChoice::Cuda(_) => {
                cost::FLOAT * (images(&self.train) * images(&self.val)).min(MOST_PRODUCTS as f64)
            }
            DeviceChoice::Auto | DeviceChoice::Cpu => 0.0,
        };
        let bytes = cost::FLOAT * features + pass.max(search);
        Cost { parameters: 0, flops: 0.0, bytes, resident: 0.0 }
    }

    fn reads(&self) -> Vec<(String, std::path::PathBuf)> {
        [source::nested_reads(TRAIN, &self.train), source::nested_reads(VAL, &self.val)].concat()
    }
}

/// The running evaluation.
pub struct Running<D: Device> {
    stage: Knn,
    view: View,
    train: Arc<dyn Images>,
    val: Arc<dyn Images>,
    /// Stops at the first picture that can't be read.
    strict: bool,
    /// Where the others are named.
    rejections: Arc<Rejections>,
    /// What the batch norms of each input's network saw in training.
    averages: [Averages; 2],
    device: D,
}

/// Why pictures were left out, by the name of their source and their index in it: all networks leave out the same.
type Reasons = BTreeMap<(&'static str, usize), String>;

/// The two sources, by the names of their parameters.
const TRAIN: &str = "train";
const VAL: &str = "val";

/// Opens `train` and `val`, which must have the same classes.
fn sources(stage: &Knn) -> Result<(Arc<dyn Images>, Arc<dyn Images>), StageError> {
    let open = |spec: &StageSpec| source::open(spec).map_err(|e| StageError::Data(e.to_string()));
    let (train, val) = (open(&stage.train)?, open(&stage.val)?);
    if train.classes() != val.classes() {
        let (a, b) = (train.classes().len(), val.classes().len());
        let text = format!("the class folders of `train` ({a}) and of `val` ({b}) must have the same names");
        return Err(StageError::Data(text));
    }
    if train.classes().is_empty() {
        let ways = "put each class into a folder of its own, or leave this node out with --without";
        return Err(StageError::Data(format!("the pictures have no classes; {ways}")));
    }
    Ok((train, val))
}

impl<D: Kernels> Running<D> {
    /// Opens both sources.
    ///
    /// # Errors
    /// [`StageError::Data`] when a source is not there, has no labels, or the two name their classes differently.
    pub fn new(
        stage: &Knn,
        graph: &GraphSpec,
        rejections: Arc<Rejections>,
        averages: [Averages; 2],
        device: &D,
    ) -> Result<Self, StageError> {
        let (train, val) = sources(stage)?;
        // pictures are judged as the network was shown them
        let view = View::of(graph, stage.resize, stage.crop);
        let strict =
            graph.nodes.values().any(|node| matches!(&node.stage, StageSpec::Decode(of) if of.strict));
        let (stage, device) = (stage.clone(), device.clone());
        Ok(Running { stage, view, train, val, strict, rejections, averages, device })
    }

    /// Notes which of a source's pictures can't be read, unless that is the end of the evaluation.
    fn note(
        &self,
        (name, images): (&'static str, &dyn Images),
        (read, unreadable): (usize, Vec<Unreadable>),
        left_out: &mut Reasons,
    ) -> Result<(), StageError> {
        if let Some(first) = unreadable.first().filter(|_| self.strict || read == 0) {
            let why = if self.strict { "`strict` is set" } else { "no other picture can be used either" };
            return Err(StageError::Data(format!("{}: {}; {why}", images.name(first.index), first.reason)));
        }
        left_out.extend(unreadable.into_iter().map(|one| ((name, one.index), one.reason)));
        Ok(())
    }

    /// By a network's features, which stay where it lives.
    fn by_features(
        &self,
        judged: Judged<'_, D>,
        left_out: &mut Reasons,
    ) -> Result<Vec<Accuracy>, StageError> {
        let mut of = |name, images: &dyn Images| {
            let (bank, unreadable) = extract(&self.device, images, self.view, judged, self.stage.batch)?;
            self.note((name, images), (bank.len(), unreadable), left_out)?;
            Ok::<_, StageError>(bank)
        };
        let (train, val) = (of(TRAIN, self.train.as_ref())?, of(VAL, self.val.as_ref())?);
        let Knn { k, temperature, .. } = &self.stage;
        classify_on(&self.device, [&train, &val], k, *temperature).map_err(failed)
    }

    /// By pixels, on the host: they may be more than a device has room for.
    fn by_pixels(&self, left_out: &mut Reasons) -> Result<Vec<Accuracy>, StageError> {
        let mut of = |name, images: &dyn Images| {
            let (rows, unreadable) = pixels(images, self.view, self.stage.batch);
            self.note((name, images), (rows.len(), unreadable), left_out)?;
            Ok::<_, StageError>(rows)
        };
        let (train, val) = (of(TRAIN, self.train.as_ref())?, of(VAL, self.val.as_ref())?);
        Ok(classify(&train, &val, &self.stage.k, self.stage.temperature))
    }

    /// Names the pictures that an evaluation left out.
    fn name(&self, step: u64, left_out: Reasons) {
        for ((source, index), reason) in left_out {
            let images = if source == TRAIN { &self.train } else { &self.val };
            let name = images.name(index);
            self.rejections.leave_out(LeftOut { event: "knn", step, source, index, name, reason });
        }
    }

    /// A line of the record for each number of neighbours.
    fn judge(
        &self,
        name: &str,
        network: Option<Judged<'_, D>>,
        left_out: &mut Reasons,
        events: &mut Vec<Event>,
    ) -> Result<(), StageError> {
        let accuracies = match network {
            Some(judged) => self.by_features(judged, left_out)?,
            None => self.by_pixels(left_out)?,
        };
        for accuracy in accuracies {
            let fields = serde_json::json!({
                "network": name, "k": accuracy.k, "top1": accuracy.top1, "top5": accuracy.top5,
            });
            if let serde_json::Value::Object(fields) = fields {
                events.push(Event { name: "knn", fields, picture: None });
            }
        }
        Ok(())
    }
}

impl<D: Kernels> Stage<D> for Running<D> {
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let mut left_out = Reasons::new();
        if at.step == 0 && self.stage.raw_pixels {
            self.judge("pixels", None, &mut left_out, outputs.events)?;
        }
        for ((name, input), averages) in NETWORKS.into_iter().zip(inputs.values).zip(&self.averages) {
            if let Some(Value::Weights(network)) = input {
                let judged = Judged { network: &***network, averages };
                self.judge(name, Some(judged), &mut left_out, outputs.events)?;
            }
        }
        self.name(at.step, left_out);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
