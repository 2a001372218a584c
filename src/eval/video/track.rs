//! A sequence's masks from its first one: frames are shown to a network one at a time, and labels carried from patch to patch.

use std::path::Path;

use super::davis::Sequence;
use super::mask::Objects;
use super::propagate::{Grid, Propagation, Settings};
use super::resample::{bilinear, objects, one_hot, shown_size};
use crate::data::{Rgb8, decode};
use crate::error::Error;
use crate::eval::subject::Subject;
use crate::nn::network::Asked;

/// How frames are shown and labels carried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracking {
    /// The shorter side of a frame, in pixels.
    pub shorter: usize,
    pub settings: Settings,
}

/// Follows the first mask's objects through a sequence. `told` is given each frame's number and mask, in the frames' own size, the first
/// one's as it is. Memory holds the latest frames' features, and one frame.
///
/// # Errors
/// When a frame or the mask can't be read, or what `told` answers.
pub fn track(
    subject: &Subject,
    sequence: &Sequence,
    tracking: Tracking,
    mut told: impl FnMut(usize, &Objects) -> Result<(), Error>,
) -> Result<(), Error> {
    let (first, patch) = (Objects::read(&sequence.first_mask)?, subject.spec.backbone.patch().max(1));
    let classes = usize::from(first.largest()) + 1;
    let mut video: Option<(Propagation, Grid)> = None;
    for (number, path) in sequence.frames.iter().enumerate() {
        let picture = read(path, subject)?;
        let size = (picture.height, picture.width);
        let shown = shown_size(size, tracking.shorter, patch);
        let grid = Grid { height: shown.0 / patch, width: shown.1 / patch };
        let features = patches(subject, &bilinear(&picture, shown))?;
        match &mut video {
            None => {
                let labels = one_hot(&first, grid, classes);
                let begun = Propagation::new(tracking.settings, grid, classes, features, labels);
                video = Some((begun, grid));
                told(number, &first)?;
            }
            Some((video, of_first)) if *of_first == grid => {
                let labels = video.next(features);
                told(number, &objects(&labels, classes, grid, patch, size))?;
            }
            Some(_) => {
                let text = format!("{}: {} x {} pixels", path.display(), size.0, size.1);
                return Err(Error::Request(format!("{text}; expected the first frame's size")));
            }
        }
    }
    Ok(())
}

fn read(path: &Path, subject: &Subject) -> Result<Rgb8, Error> {
    let bytes =
        std::fs::read(path).map_err(|cause| Error::File { doing: "read", path: path.to_owned(), cause })?;
    decode(&bytes, &subject.view.decode).map_err(|e| Error::Request(format!("{}: {e}", path.display())))
}

/// The last layer's patches, (patches, width).
fn patches(subject: &Subject, picture: &Rgb8) -> Result<Vec<f32>, Error> {
    let asked = Asked { patches: true, ..Asked::default() };
    let size = (picture.height, picture.width);
    let told = subject.answer(subject.view.normalized(picture), size, asked)?;
    let mut tokens = told.tokens.ok_or_else(|| {
        let label = subject.spec.backbone.label();
        Error::Request(format!("{label} has no patches; expected a vision transformer"))
    })?;
    // the CLS token stands first
    tokens.numbers.drain(..tokens.width);
    Ok(tokens.numbers)
}
