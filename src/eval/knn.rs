//! Weighted nearest-neighbour classification (Wu et al. 2018; DINO's appendix F.1).

use std::convert::Infallible;

use rayon::prelude::*;

use super::classifier::Rows;
use crate::kernels::cpu::neighbours;
use crate::kernels::{Kernels, Neighbours, Stretch};
use crate::tensor::{Batched, Device};

/// Labelled rows of unit length, (rows, dim).
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    pub dim: usize,
    pub features: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Labelled {
    /// Rows of any length, brought to unit length.
    pub fn normalized(dim: usize, mut features: Vec<f32>, labels: Vec<u32>) -> Self {
        neighbours::unit(features.len() / dim.max(1), dim, &mut features);
        Labelled { dim, features, labels }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True when there is no row.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

impl From<Rows> for Labelled {
    fn from(Rows { dim, features, labels }: Rows) -> Self {
        Labelled::normalized(dim, features, labels)
    }
}

/// Accuracy in percent for one number of neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    pub k: usize,
    pub top1: f64,
    pub top5: f64,
}

/// Labelled rows of unit length, (rows, dim), where a device searches them.
pub struct Bank<D: Device> {
    dim: usize,
    /// As many rows as there are labels, and room behind them.
    rows: Batched<D>,
    labels: Vec<u32>,
}

impl<D: Kernels> Bank<D> {
    /// Room for so many rows, of which there are none yet.
    ///
    /// # Errors
    /// When the device has none.
    pub fn with_room(device: &D, rows: usize, dim: usize) -> Result<Self, D::Err> {
        // no device is asked for a tensor of nothing
        let rows = Batched::empty(device, vec![rows.max(1), dim], None)?;
        Ok(Bank { dim, rows, labels: Vec::new() })
    }

    /// Takes rows of unit length over.
    ///
    /// # Errors
    /// When the device fails.
    pub fn new(device: &D, Labelled { dim, features, labels }: Labelled) -> Result<Self, D::Err> {
        if labels.is_empty() {
            return Bank::with_room(device, 0, dim);
        }
        let dims = vec![labels.len(), dim];
        Ok(Bank { dim, rows: Batched::from_host(device, features, dims, None)?, labels })
    }

    /// Takes rows behind those that are there, one for each label.
    ///
    /// # Errors
    /// When the device fails.
    ///
    /// # Panics
    /// When there is no room for them.
    pub fn add(&mut self, rows: &Batched<D>, labels: impl IntoIterator<Item = u32>) -> Result<(), D::Err> {
        let device = rows.flat.device().clone();
        device.copy_to(self.labels.len() * self.dim, rows.view(), self.rows.view_mut())?;
        self.labels.extend(labels);
        Ok(())
    }

    /// The rows brought to unit length.
    ///
    /// # Errors
    /// When the device fails.
    pub fn normalized(mut self) -> Result<Self, D::Err> {
        let device = self.rows.flat.device().clone();
        device.unit_rows(self.labels.len(), self.dim, self.rows.view_mut())?;
        Ok(self)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True when there is no row.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Rows classified at once: what similarities, candidates and votes take memory for.
const ROWS: usize = 1024;

/// Classifies each row of `val` by its k nearest rows of `train`, whose votes weigh exp(similarity / temperature); for
/// each of `ks`. Memory beyond the features is bounded by some thousand numbers for each of `ROWS` rows.
pub fn classify(train: &Labelled, val: &Labelled, ks: &[usize], temperature: f64) -> Vec<Accuracy> {
    let (dim, rows) = (train.dim, train.len());
    let search = |which, most| {
        Ok::<_, Infallible>(neighbours::nearest(dim, most, which, &val.features, rows, &train.features))
    };
    let Ok(accuracies) = judged([&train.labels, &val.labels], ks, temperature, search);
    accuracies
}

/// The same where rows lie on a device, which looks for the neighbours; votes are the host's.
///
/// # Errors
/// When the device fails.
pub fn classify_on<D: Kernels>(
    device: &D,
    [train, val]: [&Bank<D>; 2],
    ks: &[usize],
    temperature: f64,
) -> Result<Vec<Accuracy>, D::Err> {
    let search =
        |which, most| device.nearest(train.dim, most, which, val.rows.view(), train.len(), train.rows.view());
    judged([&train.labels, &val.labels], ks, temperature, search)
}

/// How often the votes of those are right that `search` finds for a stretch of rows.
fn judged<E>(
    [train, val]: [&[u32]; 2],
    ks: &[usize],
    temperature: f64,
    search: impl Fn(Stretch, usize) -> Result<Vec<Neighbours>, E>,
) -> Result<Vec<Accuracy>, E> {
    let largest = ks.iter().copied().max().unwrap_or(0).min(train.len());
    let classes = train.iter().chain(val).max().map_or(0, |&c| c as usize + 1);
    let mut hits = vec![[0usize; 2]; ks.len()];
    for (block, labels) in val.chunks(ROWS).enumerate() {
        let first = block * ROWS;
        let nearest = search(first..first + labels.len(), largest)?;
        let judged: Vec<Vec<[bool; 2]>> = nearest
            .par_iter()
            .zip(labels)
            .map(|(near, &label)| {
                ks.iter().map(|&k| judge(train, near, k, temperature, classes, label)).collect()
            })
            .collect();
        for row in judged {
            for (sum, [first, among]) in hits.iter_mut().zip(row) {
                sum[0] += usize::from(first);
                sum[1] += usize::from(among);
            }
        }
    }
    let percent = |hits: usize| 100.0 * hits as f64 / val.len().max(1) as f64;
    let of =
        |(&k, [top1, top5]): (&usize, [usize; 2])| Accuracy { k, top1: percent(top1), top5: percent(top5) };
    Ok(ks.iter().zip(hits).map(of).collect())
}

/// Whether a label has the most votes, and whether it is among the five classes that have the most. Of equals the lower class is first, classes
/// without votes too: where fewer than five have any, the reference's five are these and the lowest others. Votes are relative to the
/// nearest's, which changes no order and keeps them finite.
fn judge(
    train: &[u32],
    near: &[(f32, u32)],
    k: usize,
    temperature: f64,
    classes: usize,
    label: u32,
) -> [bool; 2] {
    let near = &near[..k.min(near.len())];
    let nearest = near.first().map_or(0.0, |one| f64::from(one.0));
    let mut votes = vec![0.0f64; classes];
    for &(similarity, index) in near {
        votes[train[index as usize] as usize] += ((f64::from(similarity) - nearest) / temperature).exp();
    }
    let own = votes[label as usize];
    let before = |(class, &vote): (usize, &f64)| vote > own || (vote == own && class < label as usize);
    let rank = votes.iter().enumerate().filter(|&v| before(v)).count();
    [rank == 0, rank < 5]
}

#[cfg(test)]
mod tests;
