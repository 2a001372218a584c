//! A transformer's block, both of its halves, which keeps for its backward step what it is told to.

use dfdx::prelude::{Const, NoneTape, PutTape, SplitTape, Tape, Tensor};

use super::mlp_residual::Kept;
use super::{Survivors, attention_residual, mlp_residual, take};
use crate::graph::spec::Recompute;
use crate::kernels::{Kernels, Products};
use crate::nn::layers::Block;
use crate::tensor::{Float, GradTape};

type Tokens<const W: usize, D, T = NoneTape> = Tensor<(usize, usize, Const<W>), Float, D, T>;

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

/// (batch, tokens, W) to (batch, queries, W): [`attention_residual()`], then [`mlp_residual()`].
pub fn block<const W: usize, const HEADS: usize, D: Kernels, T: Tape<Float, D>>(
    x: Tokens<W, D, T>,
    block: &Block<W, HEADS, D>,
    pass: BlockPass<'_>,
) -> Result<Tokens<W, D, T>, D::Err> {
    if !T::OWNS_TAPE || pass.recompute != Recompute::Blocks {
        return halves(x, block, pass);
    }
    let (x, mut tape) = x.split_tape();
    let y = halves(x.clone(), block, pass)?;
    let (device, ghost, block) = (x.device().clone(), y.ghost(), block.clone());
    let BlockPass { queries, survivors, products, .. } = pass;
    let [first, second] = survivors.map(Option::<&Survivors>::cloned);
    tape.add_backward_op(move |grads| {
        let Block { norm1, attn, norm2: norm, mlp } = block;
        // the first half again, on a tape of its own; of the second, whose output nobody needs any more, what its backward step does
        let x = x.put_tape(GradTape::default());
        let (x, tape) = attention_residual(x, &norm1, &attn, queries, first.as_ref(), products)?.split_tape();
        let dy = take(&device, grads.get_or_alloc_mut(&ghost)?)?;
        Kept { x, pre: None, survivors: second, products, norm, mlp }.back(grads, &dy)?;
        drop(dy);
        tape.run(grads)
    });
    Ok(y.put_tape(tape))
}

fn halves<const W: usize, const HEADS: usize, D: Kernels, T: Tape<Float, D>>(
    x: Tokens<W, D, T>,
    block: &Block<W, HEADS, D>,
    pass: BlockPass<'_>,
) -> Result<Tokens<W, D, T>, D::Err> {
    let BlockPass { queries, survivors: [first, second], products, recompute } = pass;
    let x = attention_residual(x, &block.norm1, &block.attn, queries, first, products)?;
    mlp_residual(x, &block.norm2, &block.mlp, second, products, recompute == Recompute::Nothing)
}
