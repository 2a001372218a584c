//! The order in which images are visited: a fresh permutation each epoch, keyed by (seed, epoch).

use std::sync::{Arc, Mutex, PoisonError};

use crate::keyed::Key;

/// A sampler that cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SamplerError {
    #[error("global_batch is 0; a step needs at least one image")]
    EmptyBatch,
    #[error(
        "the source has {len} images, fewer than one global_batch of {global_batch}; \
         lower global_batch to {len} or less, or add images"
    )]
    TooFew { len: usize, global_batch: usize },
    #[error("the source has {len} images; at most {} can be numbered", u32::MAX)]
    TooMany { len: usize },
}

/// One epoch's order, shared with the callers that are reading it.
type Order = Arc<Vec<u32>>;

/// Visits every image once an epoch, in an order that only (seed, epoch) decide; the last `len % global_batch`
/// images of an epoch's order are left out, as the paper's loader does.
///
/// Memory is 4 bytes an image for each of the two latest epochs (prefetching reaches over an epoch's end).
#[derive(Debug)]
pub struct Sampler {
    seed: u64,
    len: usize,
    global_batch: usize,
    recent: Mutex<[Option<(u64, Order)>; 2]>,
}

impl Sampler {
    /// A sampler over `len` images in batches of `global_batch`.
    ///
    /// # Errors
    /// When the batch is empty or larger than the source.
    pub fn new(seed: u64, len: usize, global_batch: usize) -> Result<Self, SamplerError> {
        if global_batch == 0 {
            return Err(SamplerError::EmptyBatch);
        }
        if len < global_batch {
            return Err(SamplerError::TooFew { len, global_batch });
        }
        if u32::try_from(len).is_err() {
            return Err(SamplerError::TooMany { len });
        }
        Ok(Sampler { seed, len, global_batch, recent: Mutex::new([None, None]) })
    }

    /// Images in the source.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: an empty source is refused.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Images in a step.
    pub fn global_batch(&self) -> usize {
        self.global_batch
    }

    /// Whole batches in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.len / self.global_batch) as u64
    }

    /// The epoch that a step belongs to, from 0.
    pub fn epoch(&self, step: u64) -> u64 {
        step / self.steps_per_epoch()
    }

    /// The images of a step, `global_batch` of them.
    pub fn ids(&self, step: u64) -> Vec<usize> {
        let order = self.order(self.epoch(step));
        let start = self.start(step);
        order[start..start + self.global_batch].iter().map(|&id| id as usize).collect()
    }

    /// Image `i` of a step, `i` below `global_batch`.
    pub fn sample(&self, step: u64, i: usize) -> usize {
        assert!(i < self.global_batch, "a step has {} images; there is no image {i}", self.global_batch);
        self.order(self.epoch(step))[self.start(step) + i] as usize
    }

    /// Where a step's images begin in its epoch's order.
    fn start(&self, step: u64) -> usize {
        (step % self.steps_per_epoch()) as usize * self.global_batch
    }

    /// An epoch's order, computed once while it is among the two latest asked for.
    fn order(&self, epoch: u64) -> Order {
        // a poisoned lock holds whole entries only: they are still right
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = recent.iter().flatten().find(|(of, _)| *of == epoch) {
            return order.clone();
        }
        let mut ids: Vec<u32> = (0..self.len as u32).collect();
        Key::new(self.seed).named("epoch order").with(epoch).draws().shuffle(&mut ids);
        let order = Arc::new(ids);
        recent.swap(0, 1);
        recent[0] = Some((epoch, order.clone()));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_epoch_visits_each_image_at_most_once_and_drops_the_rest() {
        for (len, batch) in [(10, 3), (64, 64), (1, 1), (1000, 7)] {
            let sampler = Sampler::new(5, len, batch).unwrap();
            assert_eq!(sampler.steps_per_epoch() as usize, len / batch);
            let seen: Vec<usize> = (0..sampler.steps_per_epoch()).flat_map(|s| sampler.ids(s)).collect();
            assert_eq!(seen.len(), len / batch * batch);
            assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
            assert!(seen.iter().all(|&id| id < len));
        }
    }

    #[test]
    fn steps_may_be_asked_in_any_order() {
        let (a, b) = (Sampler::new(1, 100, 8).unwrap(), Sampler::new(1, 100, 8).unwrap());
        let forward: Vec<_> = (0..40).map(|s| a.ids(s)).collect();
        let mut backward: Vec<_> = (0..40).rev().map(|s| b.ids(s)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        assert_eq!(forward[17][3], a.sample(17, 3));
        assert_eq!((a.epoch(11), a.epoch(12)), (0, 1));
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let a = Sampler::new(1, 100, 100).unwrap();
        assert_ne!(a.ids(0), a.ids(1));
        assert_ne!(a.ids(0), Sampler::new(2, 100, 100).unwrap().ids(0));
    }

    #[test]
    fn impossible_batches_are_refused() {
        assert_eq!(Sampler::new(0, 5, 0).unwrap_err(), SamplerError::EmptyBatch);
        assert_eq!(Sampler::new(0, 5, 6).unwrap_err(), SamplerError::TooFew { len: 5, global_batch: 6 });
        assert_eq!(Sampler::new(0, 0, 1).unwrap_err(), SamplerError::TooFew { len: 0, global_batch: 1 });
    }
}
