//! Differentiable fused operations on dfdx tensors.
//!
//! Each is an ordinary dfdx operation: it takes its input's tape, computes with [`crate::kernels`], records one backward
//! step and passes the tape on. Stock dfdx operations may stand before, between and after. A backward step takes the
//! gradient of its own output away (nothing else ever reads it) and recomputes what is cheaper to compute than to keep.

mod attention_residual;
mod conv;
mod conv_layer;
mod embed;
mod head;
mod layer_norm;
mod linear;
mod mlp_residual;
mod pool;
mod rows;
mod stream;
mod survivors;
mod trunk;

pub use attention_residual::cls_attention;
pub use conv::{Weights, conv};
pub use conv_layer::{Extent, Maps, conv_layer};
pub use embed::{Grid, embed};
pub use head::{
    BATCH_NORM_EPSILON, Seen, Statistics, batch_norm, batch_norm_by, l2_normalize, weight_normed,
};
pub use layer_norm::layer_norm;
pub use linear::{gelu, linear, linear_gelu, relu};
pub use pool::{average_pool, max_pool};
pub use rows::{concat_rows, first_token, without_tokens};
pub use stream::Stream;
pub use survivors::Survivors;
pub use trunk::{BlockPass, Trunk};

use crate::tensor::{Buffer, Device};

/// PyTorch's layer norm in every published ViT (fixtures; the default of 1e-5 is not theirs).
pub const LAYER_NORM_EPSILON: f32 = 1e-6;

/// Takes a gradient away from its slot, which stays behind empty.
fn take<D: Device>(device: &D, slot: &mut Buffer<D>) -> Result<Buffer<D>, D::Err> {
    Ok(std::mem::replace(slot, device.zeroed(0)?))
}

/// Lends the gradient buffers of several tensors at once, and puts them back:
/// `with_gradients!(device, grads; dw = weight, db = bias => { … })`.
macro_rules! with_gradients {
    ($device:expr, $grads:expr; $($buffer:ident = $tensor:expr),+ => $body:block) => {{
        $(let mut $buffer = $crate::ops::take($device, $grads.get_or_alloc_mut($tensor)?)?;)+
        $body
        $(*$grads.get_or_alloc_mut($tensor)? = $buffer;)+
    }};
}
use with_gradients;

#[cfg(test)]
mod tests;
