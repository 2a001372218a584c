//! A network as stages see it: any architecture, erased behind one trait.

use std::sync::Arc;

use super::parameter::{Mut, Ref};
use super::statistics::Averages;
use crate::graph::spec::NetworkSpec;
use crate::keyed::Key;
use crate::ops::{Statistics, Survivors};
use crate::tensor::{Batched, Buffer, Crossing, Device, Float};

/// A network's weights, lent for a step: nobody keeps a handle past it, so their owner can update them in place.
pub type Lent<D> = Arc<Crossing<dyn Network<D>>>;

/// Gradients in the order of [`Network::parameters`]: one buffer each, of the parameter's length.
pub struct Gradients<D: Device> {
    pub buffers: Vec<Buffer<D>>,
    /// What they are multiplied by: 1 but for 16-bit IEEE floats ([`crate::optim::loss_scale`]).
    pub scale: Float,
    /// The sum of each one's squares, where somebody has asked already.
    pub squares: Option<Vec<f64>>,
}

impl<D: Device> Gradients<D> {
    /// Gradients as they are.
    pub fn new(buffers: Vec<Buffer<D>>) -> Self {
        Gradients { buffers, scale: 1.0, squares: None }
    }
}

/// What is asked of a forward pass, so that nothing else is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The head's output.
    pub logits: bool,
    /// The tokens after the last norm; without them the last block is done for the CLS row alone.
    pub patches: bool,
    /// The last block's attention of the CLS token.
    pub attention: bool,
    /// Of how many of the last blocks the CLS token is wanted, each after the last norm (a linear probe's features).
    pub last_blocks: usize,
}

/// What a forward pass gives. Views of a picture count first: (views, batch, …).
pub struct Answer<D: Device> {
    /// (views, batch, K), when asked.
    pub logits: Option<Batched<D>>,
    /// (views, batch, W): a transformer's CLS token after the last norm, a residual network's mean over positions.
    pub cls: Batched<D>,
    /// For each group of equal resolution: (views, batch, 1 + patches, W), CLS first, when asked.
    pub tokens: Vec<Batched<D>>,
    /// For each group: (views, batch, heads, 1 + patches), when asked.
    pub attention: Vec<Batched<D>>,
    /// For each group, for each of the last blocks that were asked of a transformer, earliest first: (views, batch, W).
    pub blocks: Vec<Vec<Batched<D>>>,
    /// What the batch norms saw, by their published keys, in the order in which they saw it.
    pub statistics: Vec<(String, Statistics)>,
}

/// Stochastic depth for one pass. Its draws are keyed, so a pass can be repeated exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropPath {
    /// The drop probability of the last block; block i of n has `rate · i / (n - 1)`.
    pub rate: f64,
    /// Keyed by run and step.
    pub key: Key,
    /// The place in the whole batch of the first picture, so that micro-batches draw what the whole batch would.
    pub first_image: usize,
}

impl DropPath {
    /// The images (view by view, picture by picture) that one branch keeps. `None` where the block never drops.
    pub fn survivors(
        &self,
        block: usize,
        depth: usize,
        branch: usize,
        first_view: usize,
        (views, batch): (usize, usize),
    ) -> Option<Survivors> {
        let drop = NetworkSpec::drop_probability(self.rate, block, depth);
        if drop <= 0.0 {
            return None;
        }
        let key = self.key.named("drop path").with(block as u64).with(branch as u64);
        let stays = |&place: &usize| {
            let (view, image) = (first_view + place / batch, self.first_image + place % batch);
            !key.with(view as u64).with(image as u64).draws().chance(drop)
        };
        let images = (0..views * batch).filter(stays).collect();
        Some(Survivors { images, scale: (1.0 / (1.0 - drop)) as Float })
    }
}

/// The backward half of a traced pass. It holds the tape, so it stays on its thread.
pub trait Backward<D: Device> {
    /// Adds to `sums`, times their scale, the gradients of the parameters of `network`, the one that was traced, from the gradients of the pass's outputs;
    /// `None` where nothing flowed back.
    fn run(
        self: Box<Self>,
        network: &dyn Network<D>,
        logits: Option<&Batched<D>>,
        cls: Option<&Batched<D>>,
        sums: &mut Gradients<D>,
    ) -> Result<(), D::Err>;
}

/// A traced pass: its answer and its way back.
pub type Traced<D> = (Answer<D>, Box<dyn Backward<D>>);

/// A backbone with its head on a device.
pub trait Network<D: Device> {
    /// Every parameter under its published name, always in the same order.
    fn parameters(&self) -> Vec<Ref<'_, D>>;

    /// The same for writing.
    fn parameters_mut(&mut self) -> Vec<Mut<'_, D>>;

    /// Width of the features.
    fn width(&self) -> usize;

    /// The untraced pass over groups of crops, each (views, batch, 3, height, width). Batch norms go by the batch, as in training.
    fn forward(&self, groups: &[&Batched<D>], asked: Asked) -> Result<Answer<D>, D::Err>;

    /// The same with batch norms by what was seen before: what a picture comes to depends on no other.
    fn evaluate(
        &self,
        groups: &[&Batched<D>],
        asked: Asked,
        averages: &Averages,
    ) -> Result<Answer<D>, D::Err>;

    /// The traced pass of training.
    fn forward_traced(
        &self,
        groups: &[&Batched<D>],
        asked: Asked,
        drop_path: Option<DropPath>,
    ) -> Result<Traced<D>, D::Err>;

    /// The same weights under fresh tensor ids: a teacher's beginning.
    fn fresh_copy(&self) -> Result<Lent<D>, D::Err>;

    /// Gradient buffers of zeros.
    fn zero_gradients(&self) -> Result<Gradients<D>, D::Err>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_path(first_image: usize) -> DropPath {
        DropPath { rate: 0.5, key: Key::new(9), first_image }
    }

    #[test]
    fn drops_rise_linearly_and_kept_rows_are_scaled() {
        let depth = 5;
        assert_eq!(drop_path(0).survivors(0, depth, 0, 0, (2, 400)), None);
        for block in 1..depth {
            let drop = 0.5 * block as f64 / 4.0;
            let Survivors { images, scale } = drop_path(0).survivors(block, depth, 0, 0, (2, 2000)).unwrap();
            assert_eq!(scale, (1.0 / (1.0 - drop)) as f32, "block {block}");
            let share = 1.0 - images.len() as f64 / 4000.0;
            assert!((share - drop).abs() < 0.03, "block {block} drops {share}, not {drop}");
        }
    }

    #[test]
    fn the_two_branches_of_a_block_draw_apart_and_steps_do_too() {
        let draws = |drop: DropPath, branch| drop.survivors(4, 5, branch, 0, (2, 50)).unwrap();
        assert_ne!(draws(drop_path(0), 0), draws(drop_path(0), 1));
        assert_ne!(draws(drop_path(0), 0), draws(DropPath { key: Key::new(9).with(1), ..drop_path(0) }, 0));
    }

    #[test]
    fn micro_batches_and_groups_draw_what_the_whole_batch_would() {
        let of = |first_image, first_view, size| {
            drop_path(first_image).survivors(3, 5, 1, first_view, size).unwrap().images
        };
        // views 2 and 3, pictures 4 and 5
        let places = [2 * 6 + 4, 2 * 6 + 5, 3 * 6 + 4, 3 * 6 + 5];
        let whole = of(0, 0, (4, 6));
        let expected: Vec<usize> = (0..4).filter(|&i| whole.contains(&places[i])).collect();
        assert_eq!(of(4, 2, (2, 2)), expected);
    }
}
