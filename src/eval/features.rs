//! Features of a source's pictures: the evaluation view of each, through a network's backbone, CLS of the last layer.

use rayon::prelude::*;

use super::knn::Labelled;
use crate::data::augment::{Scratch, eval_view, normalize_into};
use crate::data::source::{Images, Raw};
use crate::data::{DecodeOptions, Rgb8, decode};
use crate::nn::network::{Asked, Network};
use crate::nn::weights::failed;
use crate::runtime::stage::StageError;
use crate::tensor::{Batched, Device};

/// How a picture is shown to a network that is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The shorter side after resizing, in pixels.
    pub resize: usize,
    /// Side of the centre crop, in pixels.
    pub crop: usize,
    pub mean: [f32; 3],
    pub deviation: [f32; 3],
}

/// Pictures `range` of a source that have a label and can be read: pixels (n, 3, crop, crop) and labels.
fn pixels(images: &dyn Images, range: std::ops::Range<usize>, view: View) -> (Vec<f32>, Vec<u32>) {
    let show = |index: usize| -> Option<(Vec<f32>, u32)> {
        let label = images.label(index)?;
        let picture: Rgb8 = match images.read(index).ok()? {
            Raw::Encoded(bytes) => decode(&bytes, &DecodeOptions::default()).ok()?,
            Raw::Drawn(picture) => picture,
        };
        let seen = eval_view(&picture, view.resize, view.crop, &mut Scratch::default());
        let mut numbers = vec![0.0; 3 * view.crop * view.crop];
        normalize_into(&seen, view.mean, view.deviation, &mut numbers);
        Some((numbers, label))
    };
    let shown: Vec<_> = range.into_par_iter().map(show).collect();
    let mut all = (Vec::new(), Vec::new());
    for (numbers, label) in shown.into_iter().flatten() {
        all.0.extend(numbers);
        all.1.push(label);
    }
    all
}

/// What the numbers of a picture are: its pixels, or what a network makes of them.
pub fn extract<D: Device>(
    device: &D,
    images: &dyn Images,
    view: View,
    network: Option<&dyn Network<D>>,
    batch: usize,
) -> Result<Labelled, StageError> {
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    let mut dim = 3 * view.crop * view.crop;
    for start in (0..images.len()).step_by(batch) {
        let (numbers, known) = pixels(images, start..(start + batch).min(images.len()), view);
        if known.is_empty() {
            continue;
        }
        match network {
            None => features.extend(numbers),
            Some(network) => {
                dim = network.width();
                let dims = vec![1, known.len(), 3, view.crop, view.crop];
                let pictures = Batched::from_host(device, numbers, dims, Some(1)).map_err(failed)?;
                let answer = network.forward(&[&pictures], Asked::default()).map_err(failed)?;
                features.extend(answer.cls.to_host().map_err(failed)?);
            }
        }
        labels.extend(known);
    }
    Ok(Labelled::normalized(dim, features, labels))
}
