//! What it costs to compute a transformer's blocks again in the backward pass, and what it spares.

use super::{FLOAT, activation, block_flops, kept};
use crate::graph::spec::{Recompute, VitShape};
use crate::kernels::Products;

/// Forward work of a block that its backward pass does again; see [`block_flops`]. It stops short of what only the block's output
/// needs, the MLP's second layer.
pub fn flops(recompute: Recompute, width: f64, tokens: f64, queries: f64) -> f64 {
    let layer = 2.0 * width * 4.0 * width * queries;
    match recompute {
        Recompute::Nothing => 0.0,
        Recompute::Hidden => layer,
        Recompute::Blocks => block_flops(width, tokens, queries) - layer,
    }
}

/// Bytes that a token of a block keeps for the backward pass: of every block but the last, and of that one.
pub fn kept(recompute: Recompute, products: Products, VitShape { width, heads, .. }: VitShape) -> (f64, f64) {
    let (inputs, within, sums, last) = match recompute {
        Recompute::Nothing => (kept::INPUTS, kept::BLOCK, kept::ATTENTION, kept::LAST_BLOCK),
        Recompute::Hidden => (kept::INPUTS, kept::BLOCK - kept::HIDDEN, kept::ATTENTION, kept::LAST_BLOCK),
        Recompute::Blocks => (kept::LAST_INPUTS, 0.0, 0.0, 0.0),
    };
    let (width, half) = (width as f64, activation(products));
    let block = width * (FLOAT * inputs + half * within) + FLOAT * sums * heads as f64;
    (block, width * (FLOAT * kept::LAST_INPUTS + half * last))
}

/// Bytes that a token has in the one block whose backward pass runs, beyond what is kept. Where nothing is computed again, what the
/// blocks behind it have freed makes room.
pub fn again(recompute: Recompute, products: Products, shape: VitShape) -> f64 {
    if recompute == Recompute::Nothing {
        return 0.0;
    }
    let back = self::kept(Recompute::Nothing, products, shape).0 - self::kept(recompute, products, shape).0;
    back + shape.width as f64 * (FLOAT * kept::BACKWARD_INPUTS + activation(products) * kept::BACKWARD)
}

/// Bytes of a crop from its forward pass to its backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropKept {
    /// Of the backbone.
    pub backbone: f64,
    /// Of the head, whose backward pass comes first.
    pub head: f64,
    /// What one block adds while its backward pass runs, where it computes again.
    pub again: f64,
}

/// Bytes of so many crops each at the widest moment from the first one's forward pass to the end of its backward pass: the head's on
/// top of all that is kept, or a block's that computes again. What came last goes back first.
pub fn widest(crops: &[(f64, CropKept)]) -> f64 {
    let (mut backbone, mut head, mut again) = (0.0, 0.0, 0.0_f64);
    for (count, kept) in crops {
        backbone += count * kept.backbone;
        head += count * kept.head;
        again = again.max(backbone + count * kept.again);
    }
    again.max(backbone + head)
}
