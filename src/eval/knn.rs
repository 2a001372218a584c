//! Weighted nearest-neighbour classification (Wu et al. 2018; DINO's appendix F.1).

use rayon::prelude::*;

use crate::kernels::Products;
use crate::kernels::cpu::linear;

/// Labelled rows of unit length, (rows, dim).
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    pub dim: usize,
    pub features: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Labelled {
    /// Rows of any length, brought to unit length. `features` holds `labels.len()` rows.
    pub fn normalized(dim: usize, mut features: Vec<f32>, labels: Vec<u32>) -> Self {
        for row in features.chunks_exact_mut(dim) {
            let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32;
            row.iter_mut().for_each(|x| *x /= norm);
        }
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

/// Accuracy in percent for one number of neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    pub k: usize,
    pub top1: f64,
    pub top5: f64,
}

/// Rows classified at once, and training rows that they are compared with at once: of the sizes tried the fastest
/// (`cargo bench --bench knn`), for 16 MiB of similarities.
const ROWS: usize = 1024;
const COLUMNS: usize = 4096;

/// Similarities that are passed over at once when none of them is near enough.
const STRETCH: usize = 64;

/// Classifies each row of `val` by its k nearest rows of `train`, whose votes weigh exp(similarity / temperature); for
/// each of `ks`. Memory beyond the features is bounded by `ROWS` × (`COLUMNS` + 4 × the largest k) numbers.
pub fn classify(train: &Labelled, val: &Labelled, ks: &[usize], temperature: f64) -> Vec<Accuracy> {
    let largest = ks.iter().copied().max().unwrap_or(0).min(train.len());
    let classes = train.labels.iter().chain(&val.labels).max().map_or(0, |&c| c as usize + 1);
    let mut hits = vec![[0usize; 2]; ks.len()];
    for (block, labels) in val.features.chunks(ROWS * val.dim).zip(val.labels.chunks(ROWS)) {
        let nearest = nearest(train, block, largest);
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
    ks.iter()
        .zip(hits)
        .map(|(&k, [top1, top5])| Accuracy { k, top1: percent(top1), top5: percent(top5) })
        .collect()
}

/// For each row of a block the `most` nearest training rows, nearest first; of equals the earlier one first.
fn nearest(train: &Labelled, block: &[f32], most: usize) -> Vec<Vec<(f32, u32)>> {
    let rows = block.len() / train.dim;
    let mut found: Vec<Nearest> = (0..rows).map(|_| Nearest::new(most)).collect();
    let mut similar = vec![0.0; rows * COLUMNS];
    for (part, columns) in train.features.chunks(COLUMNS * train.dim).enumerate() {
        let count = columns.len() / train.dim;
        let similar = &mut similar[..rows * count];
        linear::forward(
            Products::F32,
            rows,
            train.dim,
            count,
            block.into(),
            columns,
            None,
            (&mut *similar).into(),
        );
        let first = (part * COLUMNS) as u32;
        found.par_iter_mut().zip(similar.par_chunks(count)).for_each(|(near, row)| near.look(row, first));
    }
    found.into_par_iter().map(Nearest::sorted).collect()
}

/// The nearest of the rows that were looked at, and up to as many that may be among them.
struct Nearest {
    most: usize,
    kept: Vec<(f32, u32)>,
    /// What is no nearer is none of the nearest.
    bar: f32,
}

impl Nearest {
    fn new(most: usize) -> Self {
        Nearest { most, kept: Vec::with_capacity(2 * most), bar: f32::NEG_INFINITY }
    }

    /// Looks at the similarities of training rows from `first` on.
    fn look(&mut self, similarities: &[f32], first: u32) {
        for (at, stretch) in similarities.chunks(STRETCH).enumerate() {
            if largest(stretch) <= self.bar {
                continue;
            }
            for (column, &similarity) in stretch.iter().enumerate() {
                if similarity > self.bar {
                    self.kept.push((similarity, first + (at * STRETCH + column) as u32));
                    self.raise();
                }
            }
        }
    }

    /// Lets go of those that are none of the nearest, once they are as many: a choice costs less than an order kept throughout.
    fn raise(&mut self) {
        if self.kept.len() == 2 * self.most {
            self.kept.select_nth_unstable_by(self.most - 1, nearer);
            self.kept.truncate(self.most);
            self.bar = self.kept[self.most - 1].0;
        }
    }

    fn sorted(mut self) -> Vec<(f32, u32)> {
        self.kept.sort_unstable_by(nearer);
        self.kept.truncate(self.most);
        self.kept
    }
}

/// The nearer one first, of equals the earlier.
fn nearer(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The largest of finite numbers, by lanes that a compiler joins into vectors.
fn largest(numbers: &[f32]) -> f32 {
    let (lanes, rest) = numbers.as_chunks::<16>();
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut most = [f32::NEG_INFINITY; 16];
    for lane in lanes {
        most.iter_mut().zip(lane).for_each(|(most, &x)| *most = larger(*most, x));
    }
    most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// Whether a label has the most votes, and whether it is among the five classes that have the most. Of equals the lower class is first, classes
/// without votes too: where fewer than five have any, the reference's five are these and the lowest others. Votes are relative to the
/// nearest's, which changes no order and keeps them finite.
fn judge(
    train: &Labelled,
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
        votes[train.labels[index as usize] as usize] +=
            ((f64::from(similarity) - nearest) / temperature).exp();
    }
    let own = votes[label as usize];
    let before = |(class, &vote): (usize, &f64)| vote > own || (vote == own && class < label as usize);
    let rank = votes.iter().enumerate().filter(|&v| before(v)).count();
    [rank == 0, rank < 5]
}

#[cfg(test)]
mod tests;
