//! Features of a source's pictures: the evaluation view of each, through a network's backbone, CLS of the last layer.

use rayon::prelude::*;

use super::knn::Labelled;
use crate::data::augment::{Scratch, eval_view, normalize_into};
use crate::data::source::{Images, Raw};
use crate::data::{DecodeOptions, Rgb8, decode};
use crate::graph::spec::GraphSpec;
use crate::nn::network::{Asked, Network};
use crate::nn::statistics::Averages;
use crate::nn::weights::failed;
use crate::runtime::stage::StageError;
use crate::stages::StageSpec;
use crate::stages::collate::Collate;
use crate::stages::decode::Decode;
use crate::tensor::{Batched, Device};

/// How a picture is shown to a network that is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    pub decode: DecodeOptions,
    /// The shorter side after resizing, in pixels.
    pub resize: usize,
    /// Side of the centre crop, in pixels.
    pub crop: usize,
    pub mean: [f32; 3],
    pub deviation: [f32; 3],
}

impl View {
    /// As a graph's network is shown pictures in training: decoded and normalised so. The centre crop has this side, the backbone's
    /// image size where none is given; the shorter side before it is 256/224 of that.
    pub fn of(graph: &GraphSpec, resize: Option<usize>, crop: Option<usize>) -> Self {
        let stages = || graph.nodes.values().map(|node| &node.stage);
        let collate = stages().find_map(|stage| match stage {
            StageSpec::Collate(collate) => Some(collate.clone()),
            _ => None,
        });
        let decode = stages().find_map(|stage| match stage {
            StageSpec::Decode(decode) => Some(decode.options()),
            _ => None,
        });
        let crop = crop.unwrap_or(graph.network.backbone.image());
        let of_three = |(a, b, c): (f64, f64, f64)| [a as f32, b as f32, c as f32];
        let Collate { mean, deviation } = collate.unwrap_or_default();
        View {
            decode: decode.unwrap_or(Decode::default().options()),
            resize: resize.unwrap_or((crop * 256).div_ceil(224)),
            crop,
            mean: of_three(mean),
            deviation: of_three(deviation),
        }
    }
}

/// A network that is judged, with what its batch norms saw in training.
pub struct Judged<'n, D: Device> {
    pub network: &'n dyn Network<D>,
    pub averages: &'n Averages,
}

impl<D: Device> Clone for Judged<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Judged<'_, D> {}

/// A labelled picture that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub index: usize,
    pub reason: String,
}

/// Some pictures of a source as a network is shown them: pixels (n, 3, crop, crop) and labels; and those that can't be.
#[derive(Default)]
struct Shown {
    pixels: Vec<f32>,
    labels: Vec<u32>,
    unreadable: Vec<Unreadable>,
}

/// The evaluation view of a picture, (crop, crop) pixels.
///
/// # Errors
/// Why it can't be read.
pub fn seen(images: &dyn Images, index: usize, view: View) -> Result<Rgb8, String> {
    let picture = match images.read(index).map_err(|e| e.to_string())? {
        Raw::Encoded(bytes) => decode(&bytes, &view.decode).map_err(|e| e.to_string())?,
        Raw::Drawn(picture) => picture,
    };
    Ok(eval_view(&picture, view.resize, view.crop, &mut Scratch::default()))
}

/// Pictures `range` of a source, without those that have no label.
fn show(images: &dyn Images, range: std::ops::Range<usize>, view: View) -> Shown {
    let one = |index: usize| {
        let label = images.label(index)?;
        Some(seen(images, index, view).map_err(|reason| Unreadable { index, reason }).map(|seen| {
            let mut numbers = vec![0.0; 3 * view.crop * view.crop];
            normalize_into(&seen, view.mean, view.deviation, &mut numbers);
            (numbers, label)
        }))
    };
    let seen: Vec<_> = range.into_par_iter().map(one).collect();
    let mut all = Shown::default();
    for picture in seen.into_iter().flatten() {
        match picture {
            Ok((numbers, label)) => {
                all.pixels.extend(numbers);
                all.labels.push(label);
            }
            Err(unreadable) => all.unreadable.push(unreadable),
        }
    }
    all
}

/// What the numbers of a picture are: its pixels, or what a network makes of them; and the pictures that can't be read, in
/// the source's order.
///
/// # Errors
/// When the device fails.
pub fn extract<D: Device>(
    device: &D,
    images: &dyn Images,
    view: View,
    network: Option<Judged<'_, D>>,
    batch: usize,
) -> Result<(Labelled, Vec<Unreadable>), StageError> {
    let (mut features, mut labels, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    let mut dim = 3 * view.crop * view.crop;
    for start in (0..images.len()).step_by(batch) {
        let shown = show(images, start..(start + batch).min(images.len()), view);
        unreadable.extend(shown.unreadable);
        if shown.labels.is_empty() {
            continue;
        }
        match network {
            None => features.extend(shown.pixels),
            Some(Judged { network, averages }) => {
                dim = network.width();
                let dims = vec![1, shown.labels.len(), 3, view.crop, view.crop];
                let pictures = Batched::from_host(device, shown.pixels, dims, Some(1)).map_err(failed)?;
                let answer = network.evaluate(&[&pictures], Asked::default(), averages).map_err(failed)?;
                features.extend(answer.cls.to_host().map_err(failed)?);
            }
        }
        labels.extend(shown.labels);
    }
    Ok((Labelled::normalized(dim, features, labels), unreadable))
}
