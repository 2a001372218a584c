//! Labels carried from frames to the next one: each patch takes the mean label of the patches around its place that are likest to it, in the
//! first frame and the latest ones.

use std::collections::VecDeque;

use rayon::prelude::*;

use crate::kernels::Products;
use crate::kernels::cpu::linear;

/// The published settings are the default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Latest frames that labels come from, besides the first.
    pub frames: usize,
    /// How far a patch looks around its place, in patches, up and down and left and right; 0 is as far as the frame goes.
    pub radius: usize,
    /// Patches that a patch takes its label from, the likest of all frames together.
    pub nearest: usize,
    /// Patches weigh exp(cosine / temperature).
    pub temperature: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { frames: 7, radius: 12, nearest: 5, temperature: 0.1 }
    }
}

/// Patches of a frame, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub height: usize,
    pub width: usize,
}

impl Grid {
    pub fn patches(self) -> usize {
        self.height * self.width
    }
}

/// A frame whose labels are known.
struct Known {
    /// (patches, dim), rows of unit length.
    features: Vec<f32>,
    /// (patches, classes), rows that sum to 1.
    labels: Vec<f32>,
}

/// A video so far: memory holds the first frame and the latest ones.
pub struct Propagation {
    settings: Settings,
    grid: Grid,
    classes: usize,
    first: Known,
    latest: VecDeque<Known>,
}

impl Propagation {
    /// Begins with the first frame: features (patches, dim) as the network gives them, labels (patches, classes).
    pub fn new(settings: Settings, grid: Grid, classes: usize, features: Vec<f32>, labels: Vec<f32>) -> Self {
        let first = Known { features: unit(features, grid.patches()), labels };
        Propagation { settings, grid, classes, first, latest: VecDeque::new() }
    }

    /// The next frame's labels, (patches, classes).
    pub fn next(&mut self, features: Vec<f32>) -> Vec<f32> {
        let features = unit(features, self.grid.patches());
        let labels: Vec<f32> = (0..self.grid.height).flat_map(|y| self.row(y, &features)).collect();
        if self.settings.frames > 0 {
            if self.latest.len() == self.settings.frames {
                self.latest.pop_front();
            }
            self.latest.push_back(Known { features, labels: labels.clone() });
        }
        labels
    }

    /// Labels of one row of patches, (width, classes). All patches in the rows around it are compared at once.
    fn row(&self, y: usize, features: &[f32]) -> Vec<f32> {
        let (width, dim) = (self.grid.width, features.len() / self.grid.patches().max(1));
        // as in the published script, 0 restricts nothing
        let radius = if self.settings.radius == 0 { usize::MAX } else { self.settings.radius };
        let around = |at: usize, most: usize| {
            at.saturating_sub(radius)..at.saturating_add(radius).saturating_add(1).min(most)
        };
        let rows = around(y, self.grid.height);
        let band = rows.len() * width;
        let own = &features[y * width * dim..][..width * dim];
        let known: Vec<&Known> = std::iter::once(&self.first).chain(&self.latest).collect();
        let mut similar = vec![0.0f32; known.len() * width * band];
        for (known, similar) in known.iter().zip(similar.chunks_mut((width * band).max(1))) {
            let there = &known.features[rows.start * width * dim..][..band * dim];
            linear::forward(Products::F32, width, dim, band, own.into(), there, None, similar.into());
        }
        let one = |x: usize| {
            let columns = around(x, width);
            let mut near = Vec::with_capacity(known.len() * rows.len() * columns.len());
            for frame in 0..known.len() {
                let line = &similar[(frame * width + x) * band..][..band];
                for row in 0..rows.len() {
                    let part = &line[row * width..][columns.clone()];
                    let at = (rows.start + row) * width + columns.start;
                    near.extend(part.iter().enumerate().map(|(i, &cosine)| (cosine, frame, at + i)));
                }
            }
            self.label(&known, near)
        };
        (0..width).into_par_iter().flat_map_iter(one).collect()
    }

    /// The mean label of the likest of some patches, each (cosine, frame, place); as many more as are equally like.
    fn label(&self, known: &[&Known], mut near: Vec<(f32, usize, usize)>) -> Vec<f32> {
        let last = self.settings.nearest.clamp(1, near.len()) - 1;
        let (_, &mut (least, ..), _) = near.select_nth_unstable_by(last, |a, b| b.0.total_cmp(&a.0));
        near.retain(|patch| patch.0 >= least);
        // the selection leaves them in no order
        near.sort_unstable_by_key(|&(_, frame, place)| (frame, place));
        let largest = near.iter().fold(f32::NEG_INFINITY, |most, patch| most.max(patch.0));
        let (mut label, mut total) = (vec![0.0f32; self.classes], 0.0);
        for (cosine, frame, place) in near {
            let weight = ((cosine - largest) / self.settings.temperature).exp();
            let there = &known[frame].labels[place * self.classes..][..self.classes];
            label.iter_mut().zip(there).for_each(|(sum, &share)| *sum += weight * share);
            total += weight;
        }
        label.iter_mut().for_each(|sum| *sum /= total);
        label
    }
}

/// Rows brought to unit length.
fn unit(mut features: Vec<f32>, rows: usize) -> Vec<f32> {
    let dim = features.len() / rows.max(1);
    features.par_chunks_exact_mut(dim.max(1)).for_each(|row| {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32;
        row.iter_mut().for_each(|x| *x /= norm);
    });
    features
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::{Draws, Key};

    fn drawn(draws: &mut Draws, count: usize) -> Vec<f32> {
        (0..count).map(|_| draws.normal() as f32).collect()
    }

    /// The published script's arithmetic in f64: all pairs of patches of all frames, masked.
    fn obvious(s: Settings, grid: Grid, dim: usize, known: &[(Vec<f32>, Vec<f32>)], own: &[f32]) -> Vec<f64> {
        let classes = known[0].1.len() / grid.patches();
        let norm = |row: &[f32]| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let mut labels = Vec::new();
        for target in 0..grid.patches() {
            let mine = &own[target * dim..][..dim];
            let mut near = Vec::new();
            for (features, labels) in known {
                for place in 0..grid.patches() {
                    let (dy, dx) = (
                        (place / grid.width).abs_diff(target / grid.width),
                        (place % grid.width).abs_diff(target % grid.width),
                    );
                    if s.radius == 0 || (dy <= s.radius && dx <= s.radius) {
                        let theirs = &features[place * dim..][..dim];
                        let dot: f64 = mine.iter().zip(theirs).map(|(a, b)| f64::from(a * b)).sum();
                        let affinity = (dot / norm(mine) / norm(theirs) / f64::from(s.temperature)).exp();
                        near.push((affinity, &labels[place * classes..][..classes]));
                    }
                }
            }
            near.sort_by(|a, b| b.0.total_cmp(&a.0));
            near.truncate(s.nearest);
            let total: f64 = near.iter().map(|n| n.0).sum();
            labels.extend(
                (0..classes).map(|c| near.iter().map(|n| n.0 * f64::from(n.1[c])).sum::<f64>() / total),
            );
        }
        labels
    }

    #[test]
    fn neighbourhoods_agree_with_all_pairs() {
        for (height, width, radius, frames) in
            [(6, 9, 2, 2), (3, 4, 12, 7), (1, 5, 1, 1), (7, 2, 0, 3), (4, 3, usize::MAX, 2)]
        {
            let (grid, dim, classes) = (Grid { height, width }, 6, 3);
            let settings = Settings { radius, frames, ..Settings::default() };
            let mut draws = Key::new(radius as u64).draws();
            let features = drawn(&mut draws, grid.patches() * dim);
            let labels: Vec<f32> = (0..grid.patches())
                .flat_map(|p| (0..classes).map(move |c| f32::from(u8::from(p % classes == c))))
                .collect();
            let mut video = Propagation::new(settings, grid, classes, features.clone(), labels.clone());
            let mut all = vec![(features, labels)];
            for frame in 0..5 {
                let own = drawn(&mut draws, grid.patches() * dim);
                let latest = all.len().saturating_sub(frames).max(1);
                let known: Vec<_> = all[..1].iter().chain(&all[latest..]).cloned().collect();
                let expected = obvious(settings, grid, dim, &known, &own);
                let found = video.next(own.clone());
                let far =
                    found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                assert!(far < 1e-4, "{grid:?} frame {frame}: {far}");
                all.push((own, found));
            }
        }
    }

    #[test]
    fn what_stands_still_keeps_its_label() {
        let (grid, dim) = (Grid { height: 4, width: 4 }, 16);
        let features: Vec<f32> = (0..256).map(|i| f32::from(u8::from(i / dim == i % dim))).collect();
        let labels: Vec<f32> = (0..16).flat_map(|p| if p < 5 { [0.0, 1.0] } else { [1.0, 0.0] }).collect();
        let settings = Settings { nearest: 1, frames: 0, ..Settings::default() };
        let mut video = Propagation::new(settings, grid, 2, features.clone(), labels.clone());
        assert_eq!(video.next(features.clone()), labels);
        assert_eq!(video.next(features), labels);
    }
}
