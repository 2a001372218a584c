//! All of a transformer's blocks as one operation on the tape.
//!
//! The gradient of the residual stream goes back through them in one buffer: each half adds what comes through its branch to what
//! came around it, where that stands.

use dfdx::prelude::{Gradients, PutTape, SplitTape, Tape};

use super::mlp_residual::Keeps;
use super::stream::Tokens;
use super::{Stream, Survivors, attention_residual, mlp_residual, take};
use crate::graph::spec::Recompute;
use crate::kernels::{Kernels, Products};
use crate::nn::layers::Block;
use crate::tensor::{Buffer, Float};

/// What a pass through a block goes by, beside its weights.
#[derive(Clone, Copy, Debug)]
pub struct BlockPass<'a> {
    /// How many tokens attend to all, the first ones: 1 for CLS alone.
    pub queries: usize,
    /// The images that attention and MLP work on, where some are dropped.
    pub survivors: [Option<&'a Survivors>; 2],
    pub products: Products,
    pub recompute: Recompute,
}

/// Tokens on their way through blocks.
pub struct Trunk<const W: usize, const HEADS: usize, D: Kernels> {
    device: D,
    stream: Stream<W, D>,
    /// What went in, and what each block keeps for the way back; nothing where nothing is traced.
    traced: Option<(Tokens<W, D>, Vec<Passed<W, HEADS, D>>)>,
}

/// What a block keeps for the way back.
enum Passed<const W: usize, const HEADS: usize, D: Kernels> {
    Kept(attention_residual::Kept<W, HEADS, D>, mlp_residual::Kept<W, D>),
    /// What it began with: all else is computed again.
    Again {
        x: Stream<W, D>,
        block: Block<W, HEADS, D>,
        queries: usize,
        survivors: [Option<Survivors>; 2],
        products: Products,
    },
}

impl<const W: usize, const HEADS: usize, D: Kernels> Trunk<W, HEADS, D> {
    /// (images, tokens, W) before the first block, and the tape that [`Trunk::leave`] goes on with.
    pub fn enter<T: Tape<Float, D>>(x: Tokens<W, D, T>) -> (Self, T) {
        let (x, tape) = x.split_tape();
        let device = x.device().clone();
        let traced = T::OWNS_TAPE.then(|| (x.clone(), Vec::new()));
        (Trunk { device, stream: Stream::enter(x), traced }, tape)
    }

    /// The tokens after the blocks so far.
    pub fn stream(&self) -> &Stream<W, D> {
        &self.stream
    }

    /// (images, tokens, W) to (images, queries, W) through a block.
    pub fn pass(&mut self, block: &Block<W, HEADS, D>, pass: BlockPass<'_>) -> Result<(), D::Err> {
        let BlockPass { queries, survivors, products, recompute } = pass;
        let device = &self.device;
        let again = self.traced.is_some() && recompute == Recompute::Blocks;
        let keeps = self.traced.is_some() && !again;
        let begun = again.then(|| self.stream.clone());
        let [first, second] = survivors;
        let (x, attention) =
            attention_residual::forward(device, &self.stream, block, queries, first, products, keeps)?;
        // what went in is let go here, unless it is kept
        self.stream = x;
        let keeps = match recompute {
            _ if !keeps => Keeps::Nothing,
            Recompute::Nothing => Keeps::Hidden,
            _ => Keeps::Input,
        };
        let (norm, mlp) = (&block.norm2, &block.mlp);
        let (x, mlp) = mlp_residual::forward(device, &self.stream, norm, mlp, second, products, keeps)?;
        self.stream = x;
        if let Some((_, passed)) = &mut self.traced {
            passed.extend(attention.zip(mlp).map(|(attention, mlp)| Passed::Kept(attention, mlp)));
            passed.extend(begun.map(|x| {
                let survivors = survivors.map(Option::<&Survivors>::cloned);
                Passed::Again { x, block: block.clone(), queries, survivors, products }
            }));
        }
        Ok(())
    }

    /// (images, tokens, W) after the last block.
    pub fn leave<T: Tape<Float, D>>(self, mut tape: T) -> Result<Tokens<W, D, T>, D::Err> {
        let Trunk { device, stream, traced } = self;
        let y = stream.leave(&device)?;
        if let Some((x, passed)) = traced {
            let (entered, ghost) = (x.ghost(), y.ghost());
            tape.add_backward_op(move |grads| {
                let mut gradient = take(&device, grads.get_or_alloc_mut(&ghost)?)?;
                for block in passed.into_iter().rev() {
                    gradient = block.back(&device, grads, gradient)?;
                }
                // the tape came in with x, so that nothing else has a part in its gradient
                *grads.get_or_alloc_mut(&entered)? = gradient;
                Ok(())
            });
        }
        Ok(y.put_tape(tape))
    }
}

impl<const W: usize, const HEADS: usize, D: Kernels> Passed<W, HEADS, D> {
    /// The gradient of what went in, from that of what came out.
    fn back(
        self,
        device: &D,
        grads: &mut Gradients<Float, D>,
        gradient: Buffer<D>,
    ) -> Result<Buffer<D>, D::Err> {
        match self {
            Passed::Kept(first, second) => {
                let gradient = second.back(device, grads, gradient)?;
                first.back(device, grads, gradient)
            }
            Passed::Again { x, block, queries, survivors, products } => {
                let [first, second] = survivors;
                // the first half whole; of the second, whose output nobody needs any more, what its way back does
                let first = first.as_ref();
                let (x, first) =
                    attention_residual::forward(device, &x, &block, queries, first, products, true)?;
                let (norm, mlp) = (block.norm2, block.mlp);
                let second = mlp_residual::Kept { x, pre: None, survivors: second, products, norm, mlp };
                let gradient = second.back(device, grads, gradient)?;
                match first {
                    Some(first) => first.back(device, grads, gradient),
                    None => unreachable!("a half that was told to keep has kept"),
                }
            }
        }
    }
}
