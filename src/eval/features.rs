//! Features of a source's pictures: the evaluation view of each, through a network's backbone.

use std::convert::Infallible;

use rayon::prelude::*;

use super::extractor::{Tokens, Told};
use super::knn::{Bank, Labelled};
use super::view::View;
use crate::data::source::{Images, Raw};
use crate::data::{Rgb8, decode};
use crate::kernels::Kernels;
use crate::nn::network::{Answer, Asked, Network};
use crate::nn::statistics::Averages;
use crate::nn::weights::failed;
use crate::runtime::stage::StageError;
use crate::tensor::{Batched, Device};

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

/// A picture that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub index: usize,
    pub reason: String,
}

/// Some pictures of a source as a network is shown them.
#[derive(Default)]
pub struct Shown {
    /// (n, 3, crop, crop), normalised.
    pub pixels: Vec<f32>,
    /// Their indices in the source.
    pub indices: Vec<usize>,
}

/// A source's picture, decoded.
///
/// # Errors
/// Why it can't be read, in words.
pub fn picture(images: &dyn Images, index: usize, view: View) -> Result<Rgb8, String> {
    match images.read(index).map_err(|e| e.to_string())? {
        Raw::Encoded(bytes) => decode(&bytes, &view.decode).map_err(|e| e.to_string()),
        Raw::Drawn(picture) => Ok(picture),
    }
}

/// The evaluation view of a source's picture, (crop, crop) pixels.
///
/// # Errors
/// Why it can't be read, in words.
pub fn seen(images: &dyn Images, index: usize, view: View) -> Result<Rgb8, String> {
    picture(images, index, view).map(|picture| view.cut(&picture))
}

/// Shows the pictures `which` of a source, so many at once and in their order; those that can't be read are given back.
///
/// # Errors
/// What `see` answers.
pub fn each_batch<E>(
    images: &dyn Images,
    which: &[usize],
    view: View,
    batch: usize,
    mut see: impl FnMut(Shown) -> Result<(), E>,
) -> Result<Vec<Unreadable>, E> {
    let mut unreadable = Vec::new();
    for indices in which.chunks(batch.max(1)) {
        let seen: Vec<_> = indices
            .par_iter()
            .map(|&index| seen(images, index, view).map(|seen| view.normalized(&seen)))
            .collect();
        let mut shown = Shown::default();
        for (&index, seen) in indices.iter().zip(seen) {
            match seen {
                Ok(pixels) => {
                    shown.pixels.extend(pixels);
                    shown.indices.push(index);
                }
                Err(reason) => unreadable.push(Unreadable { index, reason }),
            }
        }
        if !shown.indices.is_empty() {
            see(shown)?;
        }
    }
    Ok(unreadable)
}

/// What of a network makes a picture's features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// CLS of so many of the last blocks, each after the last norm, side by side with the earliest first. A residual network has one.
    pub last_blocks: usize,
    /// And then the mean of the last block's patches.
    pub average_patches: bool,
}

impl Wanted {
    /// CLS of the last layer.
    pub const CLS: Wanted = Wanted { last_blocks: 1, average_patches: false };

    /// Numbers in a picture's features for a network of this width.
    pub fn width(self, width: usize) -> usize {
        width * (self.last_blocks + usize::from(self.average_patches))
    }

    /// What a network is asked for it.
    pub fn asked(self) -> Asked {
        let last_blocks = if self.last_blocks > 1 { self.last_blocks } else { 0 };
        Asked { patches: self.average_patches, last_blocks, ..Asked::default() }
    }

    /// The rows of an answer to [`Wanted::asked`], from a network of this width.
    pub fn rows(self, told: &Told, width: usize) -> Vec<f32> {
        let blocks = told.blocks.iter().map(Vec::as_slice);
        let mut parts: Vec<&[f32]> = if told.blocks.is_empty() { vec![&told.cls] } else { blocks.collect() };
        let means = told.tokens.as_ref().filter(|_| self.average_patches).map(mean_of_patches);
        parts.extend(means.as_deref());
        let n = parts[0].len() / width; // the first part is there in either case above
        let row = |i: usize| parts.iter().flat_map(move |part| part[i * width..][..width].iter().copied());
        (0..n).flat_map(row).collect()
    }
}

impl<D: Device> Judged<'_, D> {
    /// What the network says of pictures (n, 3, height, width).
    ///
    /// # Errors
    /// When the device fails.
    pub fn answer(
        &self,
        device: &D,
        pixels: Vec<f32>,
        (height, width): (usize, usize),
        asked: Asked,
    ) -> Result<Answer<D>, StageError> {
        let n = pixels.len() / (3 * height * width).max(1);
        let pictures =
            Batched::from_host(device, pixels, vec![1, n, 3, height, width], Some(1)).map_err(failed)?;
        self.network.evaluate(&[&pictures], asked, self.averages).map_err(failed)
    }
}

/// (n, 1 + patches, width) to the means over the patches, (n, width).
fn mean_of_patches(&Tokens { ref numbers, count, width }: &Tokens) -> Vec<f32> {
    let mean = |image: &[f32]| -> Vec<f32> {
        let mut sums = vec![0.0f64; width];
        for patch in image.chunks_exact(width).skip(1) {
            sums.iter_mut().zip(patch).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        sums.into_iter().map(|sum| (sum / (count - 1).max(1) as f64) as f32).collect()
    };
    numbers.chunks_exact(count * width).flat_map(mean).collect()
}

/// The indices of a source's labelled pictures.
pub fn labelled(images: &dyn Images) -> Vec<usize> {
    (0..images.len()).filter(|&index| images.label(index).is_some()).collect()
}

/// A network's CLS of the last layer for a source's labelled pictures, brought to unit length on its device; and the pictures that
/// can't be read, in the source's order.
///
/// # Errors
/// When the device fails.
pub fn extract<D: Kernels>(
    device: &D,
    images: &dyn Images,
    view: View,
    judged: Judged<'_, D>,
    batch: usize,
) -> Result<(Bank<D>, Vec<Unreadable>), StageError> {
    let (which, side) = (labelled(images), (view.crop, view.crop));
    let mut bank = Bank::with_room(device, which.len(), judged.network.width()).map_err(failed)?;
    let unreadable = each_batch(images, &which, view, batch, |Shown { pixels, indices }| {
        let answer = judged.answer(device, pixels, side, Asked::default())?;
        bank.add(&answer.cls, labels(images, &indices)).map_err(failed)
    })?;
    Ok((bank.normalized().map_err(failed)?, unreadable))
}

/// The same of the pictures' pixels, on the host.
pub fn pixels(images: &dyn Images, view: View, batch: usize) -> (Labelled, Vec<Unreadable>) {
    let (which, dim) = (labelled(images), 3 * view.crop * view.crop);
    // a vector that grows holds its numbers twice for a moment
    let (mut features, mut of) = (Vec::with_capacity(which.len() * dim), Vec::with_capacity(which.len()));
    let Ok(unreadable) = each_batch(images, &which, view, batch, |shown| {
        features.extend(shown.pixels);
        of.extend(labels(images, &shown.indices));
        Ok::<_, Infallible>(())
    });
    (Labelled::normalized(dim, features, of), unreadable)
}

/// The labels of a source's pictures, of those that have one.
pub fn labels(images: &dyn Images, which: &[usize]) -> impl Iterator<Item = u32> {
    which.iter().filter_map(|&index| images.label(index))
}

#[cfg(test)]
mod tests;
