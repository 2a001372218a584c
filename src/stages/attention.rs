//! `attention`: where the networks look, drawn between steps: the last block's attention of the CLS token (figure 1 of the paper).
use std::sync::Arc;

use super::declare::*;
use super::onlooker::{self, BACKBONE, NETWORKS};
use super::range::Ranges;
use super::source;
use crate::data::Rgb8;
use crate::data::augment::normalize_into;
use crate::data::source::Images;
use crate::eval::features::seen;
use crate::eval::view::View;
use crate::graph::spec::GraphSpec;
use crate::nn::network::{Asked, Lent};
use crate::nn::statistics::Averages;
use crate::nn::weights::failed;
use crate::optim::schedule::Span;
use crate::plan::cost;
use crate::report::pictures::Drawn;
use crate::report::pictures::sheet::{cell_side, sheet};
use crate::runtime::stage::{Event, Inputs, Moment, Outputs, Stage, StageError, Value};
use crate::stages::StageSpec;
use crate::tensor::{Batched, Device};
use serde::{Deserialize, Serialize};

/// Draws a sheet for each network: a row for each picture, with the picture, the mean over the heads over it, and each head. A
/// network without attention draws nothing. Inputs `student?`, `teacher?`: weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Maps {
    /// A source of pictures; `None` takes the pictures of training.
    pub pictures: Option<Box<StageSpec>>,
    /// How many of them, evenly spread over the source.
    pub count: usize,
    /// How often, besides step 0 and the end.
    pub every: Span,
    /// The shorter side in pixels after resizing, before the crop; `None` is 256/224 of `crop`.
    pub resize: Option<usize>,
    /// The side in pixels of the centre crop; `None` is the backbone's image size.
    pub crop: Option<usize>,
}

impl Default for Maps {
    fn default() -> Self {
        Maps { pictures: None, count: 6, every: Span::Epochs(1.0), resize: None, crop: None }
    }
}

/// The parameter that names a source.
const PICTURES: &str = "pictures";

impl Declare for Maps {
    fn role(&self) -> Role {
        Role::Attention
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
        if let Some(pictures) = &self.pictures {
            source::judge_nested(PICTURES, pictures, &mut ranges, scope);
        }
        ranges.every("every", self.every);
        ranges.count("count", self.count, 1, 64);
        let backbone = &scope.graph.network.backbone;
        if backbone.vit().is_none() {
            let problem =
                Problem::graph(BACKBONE, "a vision transformer, for nothing else attends", backbone.name());
            ranges.push(problem.help("this node draws nothing; leave it out with --without").note());
            // what it is shown is of no account then
            return ranges.finish();
        }
        onlooker::judge_view(self.crop, self.resize, &mut ranges, scope);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        onlooker::infer(given)
    }

    fn cost(&self, scope: &Scope, _given: &Given) -> Cost {
        let network = &scope.graph.network;
        let side = self.crop.unwrap_or(network.backbone.image());
        let pass = self.count as f64 * cost::crop_untraced(network, scope.graph.products(), side);
        Cost { parameters: 0, flops: 0.0, bytes: pass, resident: 0.0 }
    }

    fn reads(&self) -> Vec<(String, std::path::PathBuf)> {
        self.pictures.as_ref().map(|pictures| source::nested_reads(PICTURES, pictures)).unwrap_or_default()
    }
}

/// The running stage.
pub struct Running<D: Device> {
    stage: Maps,
    view: View,
    patch: usize,
    images: Arc<dyn Images>,
    /// As they are shown, read when they are first wanted.
    shown: Option<Vec<Rgb8>>,
    /// What the batch norms of each input's network saw in training.
    averages: [Averages; 2],
    device: D,
}

impl<D: Device> Running<D> {
    /// Opens its pictures, or takes those of training.
    ///
    /// # Errors
    /// [`StageError::Data`] when they are not there.
    pub fn new(
        stage: &Maps,
        graph: &GraphSpec,
        training: Option<Arc<dyn Images>>,
        averages: [Averages; 2],
        device: &D,
    ) -> Result<Self, StageError> {
        let images = match (&stage.pictures, training) {
            (Some(pictures), _) => source::open(pictures).map_err(|e| StageError::Data(e.to_string()))?,
            (None, Some(training)) => training,
            (None, None) => {
                let text = "the graph has no source of pictures; name one: pictures=Folder(root: \"…\")";
                return Err(StageError::Data(text.into()));
            }
        };
        let (view, patch) = (View::of(graph, stage.resize, stage.crop), graph.network.backbone.patch());
        let (stage, device) = (stage.clone(), device.clone());
        Ok(Running { stage, view, patch, images, shown: None, averages, device })
    }

    /// The pictures, always the same: evenly spread, without those that can't be read.
    fn shown(&mut self) -> Vec<Rgb8> {
        let (images, view) = (&self.images, self.view);
        let count = self.stage.count.min(images.len());
        let read = || {
            (0..count).filter_map(|i| seen(images.as_ref(), i * images.len() / count, view).ok()).collect()
        };
        self.shown.get_or_insert_with(read).clone()
    }

    /// For each picture its maps (heads, gh, gw), and how many heads; none of a network without attention.
    fn maps(
        &self,
        pictures: &[Rgb8],
        network: &Lent<D>,
        averages: &Averages,
    ) -> Result<Option<(Vec<Vec<f32>>, usize)>, StageError> {
        let View { crop, mean, deviation, .. } = self.view;
        let mut numbers = vec![0.0; pictures.len() * 3 * crop * crop];
        for (picture, slot) in pictures.iter().zip(numbers.chunks_exact_mut(3 * crop * crop)) {
            normalize_into(picture, mean, deviation, slot);
        }
        let dims = vec![1, pictures.len(), 3, crop, crop];
        let batch = Batched::from_host(&self.device, numbers, dims, Some(1)).map_err(failed)?;
        let asked = Asked { attention: true, ..Asked::default() };
        let answer = network.evaluate(&[&batch], asked, averages).map_err(failed)?;
        let Some(attention) = answer.attention.first() else { return Ok(None) };
        let [_, _, heads, tokens] = attention.dims[..] else { return Ok(None) };
        let all = attention.to_host().map_err(failed)?;
        // the first token is CLS itself, which is no place in the picture
        let patches =
            |picture: &[f32]| picture.chunks_exact(tokens).flat_map(|head| head[1..].to_vec()).collect();
        Ok(Some((all.chunks_exact(heads * tokens).map(patches).collect(), heads)))
    }

    /// The sheet of a network, and the line that names it.
    fn draw(&self, step: u64, name: &str, pictures: &[Rgb8], (maps, heads): (Vec<Vec<f32>>, usize)) -> Event {
        let side = self.view.crop / self.patch;
        let word = if name == "teacher" { "attention".to_owned() } else { format!("attention-{name}") };
        let drawn =
            Drawn { name: format!("{word}-step-{step:08}"), picture: sheet(pictures, &maps, (side, side)) };
        let fields = serde_json::json!({
            "network": name,
            "pictures": pictures.len(),
            "heads": heads,
            "side": cell_side(self.view.crop),
            "entropy": entropy(&maps, side * side),
            "picture": format!("{}.png", drawn.name),
        });
        let fields = fields.as_object().cloned().unwrap_or_default();
        Event { name: "attention", fields, picture: Some(drawn) }
    }
}

/// Mean over pictures and heads of a map's entropy in nats; ln of its cells when it looks everywhere alike.
fn entropy(maps: &[Vec<f32>], cells: usize) -> f64 {
    let of = |map: &[f32]| {
        let sum: f64 = map.iter().map(|value| f64::from(*value)).sum();
        let parts = map.iter().map(|value| f64::from(*value) / sum.max(f64::MIN_POSITIVE));
        parts.filter(|part| *part > 0.0).map(|part| -part * part.ln()).sum::<f64>()
    };
    let each: Vec<f64> = maps.iter().flat_map(|maps| maps.chunks_exact(cells.max(1)).map(of)).collect();
    each.iter().sum::<f64>() / each.len().max(1) as f64
}

impl<D: Device> Stage<D> for Running<D> {
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let pictures = self.shown();
        if pictures.is_empty() {
            return Ok(());
        }
        for ((name, input), averages) in NETWORKS.into_iter().zip(inputs.values).zip(&self.averages) {
            let Some(Value::Weights(network)) = input else { continue };
            if let Some(maps) = self.maps(&pictures, network, averages)? {
                outputs.events.push(self.draw(at.step, name, &pictures, maps));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
