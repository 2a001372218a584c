//! The kernels by family: what an operation asks of a device. One line a kernel; the CPU's implementation stands in
//! [`super::cpu`] under the same family, its oracle in [`super::scalar`].

use std::ops::Range;

use dfdx::prelude::{Cpu, HasErr};

use super::{AttentionDims, ConvDims, Numbers, NumbersMut, Products, Rows, cpu};
use crate::tensor::Device;

/// Declares a family: a trait whose methods take views of the device's buffers, and its implementation for the CPU.
///
/// `read` is a buffer that the kernel reads, `maybe` one that may be absent, `write` one that it writes or adds to. `any` and
/// `any_write` hold numbers in either precision; `reads` are several; `rows` say where a matrix's rows stand; the other kinds hold f32.
macro_rules! family {
    ($(#[$doc:meta])* $family:ident in $module:ident {
        $($(#[$about:meta])* fn $method:ident = $kernel:ident($($name:ident: $kind:tt),* $(,)?) $(-> $result:ty)?;)*
    }) => {
        $(#[$doc])*
        pub trait $family: Device {
            $($(#[$about])*
            #[allow(clippy::too_many_arguments)]
            fn $method(&self, $($name: family!(@trait $kind)),*) -> Result<family!(@result $($result)?), Self::Err>;)*
        }

        impl $family for Cpu {
            $(#[allow(clippy::too_many_arguments)]
            fn $method(&self, $($name: family!(@cpu $kind)),*) -> Result<family!(@result $($result)?), <Cpu as HasErr>::Err> {
                Ok(cpu::$module::$kernel($($name),*))
            })*
        }

        #[cfg(feature = "cuda")]
        impl $family for dfdx::prelude::Cuda {
            $(#[allow(clippy::too_many_arguments)]
            fn $method(&self, $($name: family!(@cuda $kind)),*) -> Result<family!(@result $($result)?), <Self as HasErr>::Err> {
                super::cuda::$module::$kernel(super::cuda::Gpu::of(self)?, $($name),*)
            })*
        }
    };
    (@result) => { () };
    (@result $result:ty) => { $result };
    (@trait read) => { Self::View<'_> };
    (@trait maybe) => { Option<Self::View<'_>> };
    (@trait write) => { Self::ViewMut<'_> };
    (@trait rows) => { Rows<'_> };
    (@trait any) => { Self::AnyView<'_> };
    (@trait any_write) => { Self::AnyViewMut<'_> };
    (@trait maybe_any_write) => { Option<Self::AnyViewMut<'_>> };
    (@trait maybe_write) => { Option<Self::ViewMut<'_>> };
    (@trait reads) => { &[Self::View<'_>] };
    (@trait $kind:ty) => { $kind };
    (@cpu read) => { &[f32] };
    (@cpu maybe) => { Option<&[f32]> };
    (@cpu write) => { &mut [f32] };
    (@cpu rows) => { Rows<'_> };
    (@cpu any) => { Numbers<'_> };
    (@cpu any_write) => { NumbersMut<'_> };
    (@cpu maybe_any_write) => { Option<NumbersMut<'_>> };
    (@cpu maybe_write) => { Option<&mut [f32]> };
    (@cpu reads) => { &[&[f32]] };
    (@cpu $kind:ty) => { $kind };
    (@cuda read) => { super::cuda::View<'_> };
    (@cuda maybe) => { Option<super::cuda::View<'_>> };
    (@cuda write) => { super::cuda::ViewMut<'_> };
    (@cuda rows) => { Rows<'_> };
    (@cuda any) => { super::cuda::Any<'_> };
    (@cuda any_write) => { super::cuda::AnyMut<'_> };
    (@cuda maybe_any_write) => { Option<super::cuda::AnyMut<'_>> };
    (@cuda maybe_write) => { Option<super::cuda::ViewMut<'_>> };
    (@cuda reads) => { &[super::cuda::View<'_>] };
    (@cuda $kind:ty) => { $kind };
}

family! {
    /// Linear layers with PyTorch's weight layout, (out, inp), and what is fused with them.
    LinearKernels in linear {
        /// y = x wᵀ + b
        fn linear = forward(products: Products, rows: usize, inp: usize, out: usize, x: any, w: read, bias: maybe, y: any_write);
        /// pre = x wᵀ + b, where there is room for it, and y = gelu(pre)
        fn linear_gelu = forward_gelu(products: Products, rows: usize, inp: usize, out: usize, x: any, w: read, bias: maybe,
            pre: maybe_any_write, y: any_write);
        /// y = residual + scale · (x wᵀ + b), in those `rows` of residual and y that are named
        fn linear_residual = forward_residual(products: Products, rows: rows, inp: usize, out: usize, scale: f32, x: any, w: read,
            bias: maybe, residual: read, y: write);
        /// dx = dy w
        fn linear_backward_input = backward_input(products: Products, rows: usize, inp: usize, out: usize, dy: any, w: read,
            dx: any_write);
        /// dx += dy w
        fn linear_backward_input_add = backward_input_add(products: Products, rows: usize, inp: usize, out: usize, dy: any,
            w: read, dx: write);
        /// dpre = (dy w) · gelu'(pre), pre becomes gelu(pre), db += column sums of dpre
        fn linear_backward_gelu = backward_gelu(products: Products, rows: usize, inp: usize, out: usize, dy: any, w: read,
            pre: any_write, dpre: any_write, db: write);
        /// dw += dyᵀ x
        fn linear_backward_weight = backward_weight(products: Products, rows: usize, inp: usize, out: usize, dy: any, x: any,
            dw: write);
        /// db += column sums of dy
        fn linear_backward_bias = backward_bias(rows: usize, out: usize, dy: any, db: write);
        /// y = gelu(x), the exact one
        fn gelu = gelu_forward(x: any, y: any_write);
        /// dy *= gelu'(pre)
        fn gelu_backward = gelu_backward(pre: any, dy: write);
        /// y = max(x, 0), NaN where x is
        fn relu = relu_forward(x: read, y: write);
        /// dy = 0 where pre is not above 0
        fn relu_backward = relu_backward(pre: read, dy: write);
    }
}

family! {
    /// Layer normalisation over the last axis, of those `rows` of x that are named; what comes of them lies together.
    LayerNormKernels in layer_norm {
        fn layer_norm = forward(rows: rows, dim: usize, eps: f32, x: read, gain: read, bias: read, y: any_write,
            mean: write, rstd: write);
        /// dx (in those rows), dgain, dbias +=
        fn layer_norm_backward = backward(rows: rows, dim: usize, dy: any, x: read, gain: read, mean: read, rstd: read,
            dx: write, dgain: write, dbias: write);
    }
}

family! {
    /// Multi-head attention over packed queries, keys and values, (batch, tokens, 3, heads, head_dim).
    AttentionKernels in attention {
        /// qkv = x wᵀ + b; where only some tokens ask, the others' queries are left as they are
        fn qkv = qkv_forward(products: Products, dims: AttentionDims, x: any, w: read, bias: read, qkv: any_write);
        /// dw += dqkvᵀ x, without the queries of tokens that did not ask
        fn qkv_backward_weight = qkv_backward_weight(products: Products, dims: AttentionDims, dqkv: any, x: any, dw: write);
        /// dx = dqkv w, without the same
        fn qkv_backward_input = qkv_backward_input(products: Products, dims: AttentionDims, dqkv: any, w: read, dx: any_write);
        fn attention = forward(products: Products, dims: AttentionDims, scale: f32, qkv: any, out: any_write, lse: write);
        fn attention_backward = backward(products: Products, dims: AttentionDims, scale: f32, qkv: any, out: any, lse: read,
            dout: any, dqkv: any_write);
        fn attention_probabilities = probabilities(products: Products, dims: AttentionDims, scale: f32, qkv: any, probs: write);
    }
}

family! {
    /// Patches of pixels, and the tokens made of them.
    PatchKernels in patch {
        /// (batch, 3, height, width) to (batch, patches, 3 · patch²), inner order (channel, y, x)
        fn unfold = unfold(batch: usize, height: usize, width: usize, patch: usize, images: read, rows: write);
        /// CLS and registers (`lead`) before the patches, positions added to CLS and patches
        fn assemble = assemble(batch: usize, registers: usize, patches: usize, dim: usize, projected: read, cls: read, lead: maybe,
            pos: read, tokens: write);
        fn assemble_backward = assemble_backward(batch: usize, registers: usize, patches: usize, dim: usize, dtokens: read,
            dprojected: write, dcls: write, dlead: maybe_write, dpos: write);
    }
}

family! {
    /// Convolutions with a border of zeros, on maps (batch, height, width, channels); weights are (out, side, side, inp), outputs
    /// (batch, ⌈height / stride⌉, ⌈width / stride⌉, out).
    ConvKernels in conv {
        /// (batch, channels, pixels) to (batch, pixels, channels)
        fn channels_last = channels_last(batch: usize, channels: usize, pixels: usize, images: read, maps: write);
        /// y = x * w
        fn conv = forward(products: Products, dims: ConvDims, x: read, w: read, y: write);
        /// dw += the gradient of the weights
        fn conv_backward_weight = backward_weight(products: Products, dims: ConvDims, dy: read, x: read, dw: write);
        /// dx += the gradient of the input
        fn conv_backward_input = backward_input(products: Products, dims: ConvDims, dy: read, w: read, dx: write);
    }
}

family! {
    /// Pooling of maps (batch, height, width, channels).
    PoolKernels in pool {
        /// The largest of 3 × 3 with stride 2 and a border, and its place under the window
        fn max_pool = max(batch: usize, height: usize, width: usize, channels: usize, x: read, y: write, places: write);
        /// dx += dy at those places
        fn max_pool_backward = max_backward(batch: usize, height: usize, width: usize, channels: usize, dy: read, places: read,
            dx: write);
        /// (batch, positions, channels) to the mean of the positions
        fn average_pool = average(batch: usize, positions: usize, channels: usize, x: read, y: write);
        /// dx += dy / positions
        fn average_pool_backward = average_backward(batch: usize, positions: usize, channels: usize, dy: read, dx: write);
    }
}

family! {
    /// Copies of parts: an image's first tokens, a stretch of rows.
    TokenKernels in tokens {
        /// (batch, tokens, dim) to (batch, keep, dim)
        fn first_tokens = first(batch: usize, tokens: usize, keep: usize, dim: usize, src: read, dst: write);
        /// (batch, tokens, dim) to (batch, tokens - count, dim), without `count` of an image's tokens from `from` on
        fn without_tokens = without(batch: usize, tokens: usize, from: usize, count: usize, dim: usize, src: read, dst: write);
        /// (batch, tokens, dim) += (batch, keep, dim)
        fn add_first_tokens = add_first(batch: usize, tokens: usize, keep: usize, dim: usize, src: read, dst: write);
        /// dst = scale · those rows of src that are named, db += the sums of dst's columns
        fn gather_rows = gather(rows: rows, dim: usize, scale: f32, src: read, dst: any_write, db: write);
        /// dst = src in all rows but those that are named
        fn copy_others = copy_others(rows: rows, dim: usize, src: read, dst: write);
        fn copy_to = copy_to(offset: usize, src: read, dst: write);
        fn add_from = add_from(offset: usize, src: read, dst: write);
    }
}

family! {
    /// Position embeddings resampled to another grid, bicubic.
    PositionKernels in position {
        fn interpolate = interpolate(grid_h: usize, grid_w: usize, to_h: usize, to_w: usize, dim: usize, pos: read, out: write);
        fn interpolate_backward = interpolate_backward(grid_h: usize, grid_w: usize, to_h: usize, to_w: usize, dim: usize,
            dout: read, dpos: write);
    }
}

family! {
    /// Rows of unit length.
    NormalizeKernels in normalize {
        fn l2 = l2_forward(rows: usize, dim: usize, eps: f32, x: read, y: write, norms: write);
        fn l2_backward = l2_backward(rows: usize, dim: usize, dy: read, y: read, norms: read, dx: write);
    }
}

family! {
    /// A linear layer with weight normalisation, w = g · v / ‖v‖ for each of its outputs.
    NormedLinearKernels in normed_linear {
        /// y = x wᵀ; norms keeps ‖v‖
        fn normed_linear = forward(products: Products, rows: usize, inp: usize, out: usize, x: read, v: read, g: maybe,
            y: write, norms: write);
        /// dx, dv, dg +=
        fn normed_linear_backward = backward(products: Products, rows: usize, inp: usize, out: usize, dy: read, x: read,
            v: read, g: maybe, norms: read, dx: write, dv: write, dg: maybe_write);
    }
}

family! {
    /// Batch normalisation over rows; in the same pass a residual is added, and what is below 0 becomes 0 (`relu`).
    BatchNormKernels in batch_norm {
        fn batch_norm = forward(rows: usize, dim: usize, eps: f32, relu: bool, x: read, gain: read, bias: read, residual: maybe,
            y: write, mean: write, variance: write, rstd: write);
        /// dx, dresidual, dgain, dbias +=; `y` where what is below 0 became 0
        fn batch_norm_backward = backward(rows: usize, dim: usize, dy: read, y: maybe, x: read, gain: read, mean: read, rstd: read,
            dx: write, dresidual: maybe_write, dgain: write, dbias: write);
        /// by given statistics
        fn batch_norm_apply = apply(rows: usize, dim: usize, eps: f32, relu: bool, x: read, gain: read, bias: read, residual: maybe,
            mean: read, variance: read, y: write);
    }
}

family! {
    /// The teacher's targets, and the losses against them.
    LossKernels in loss {
        fn centered_softmax = centered_softmax(rows: usize, k: usize, logits: read, center: maybe, temperature: f32,
            targets: write, entropy: write);
        /// The weighted sum over pairs and rows, and its gradient in the student's logits.
        fn cross_entropy = cross_entropy(globals: usize, views: usize, batch: usize, k: usize, student: read, targets: read, temperature: f32,
            weight: f32, dstudent: write) -> f64;
        /// The same of squared distances between unit rows.
        fn squared_distances = squared_distances(globals: usize, views: usize, batch: usize, k: usize, student: read, teacher: read,
            weight: f32, dstudent: write) -> f64;
        /// The same of InfoNCE between unit rows, against a queue of negatives.
        fn info_nce = info_nce(globals: usize, views: usize, batch: usize, k: usize, negatives: usize, student: read, teacher: read,
            queue: read, temperature: f32, weight: f32, dstudent: write) -> f64;
        /// Rows onto the queue's places from `next` on, around its end.
        fn enqueue = enqueue(next: usize, length: usize, k: usize, rows: read, queue: write);
        /// KoLeo of each group's unit rows, and its gradient times `weight`.
        fn koleo = koleo(groups: usize, rows: usize, dim: usize, x: read, weight: f32, dx: write) -> f64;
        /// logits - center, row by row
        fn centered = centered(rows: usize, k: usize, logits: read, center: read, y: write);
        /// Sinkhorn-Knopp over the rows of each group, and each row's entropy
        fn sinkhorn = sinkhorn(groups: usize, rows: usize, k: usize, iterations: usize, temperature: f32, logits: read,
            targets: write, entropy: write);
        fn column_mean = column_mean(rows: usize, k: usize, x: read, mean: write);
        fn entropy_of_mean = entropy_of_mean(rows: usize, k: usize, targets: read) -> f64;
    }
}

family! {
    /// Norms, finiteness, and updates of weights in place.
    UpdateKernels in optimizer {
        fn sum_of_squares = sum_of_squares(x: read) -> f64;
        /// the same of each of several, which a device tells together
        fn sums_of_squares = sums_of_squares(xs: reads) -> Vec<f64>;
        fn all_finite = all_finite(x: read) -> bool;
        /// and, of what has just been updated, average = momentum · average + (1 - momentum) · p
        fn adamw = adamw(p: write, g: read, m: write, v: write, lr: f64, decay: f64, beta1: f64, beta2: f64, eps: f64,
            step: u64, grad_scale: f32, average: maybe_write, momentum: f64);
        /// b = velocity · b + g + decay · p, p -= lr · b, and the average as above
        fn sgd = sgd(p: write, g: read, b: write, lr: f64, decay: f64, velocity: f64, grad_scale: f32, average: maybe_write,
            momentum: f64);
        /// the same with g + decay · p scaled to the length trust · |p|
        fn lars = lars(p: write, g: read, b: write, lr: f64, decay: f64, velocity: f64, trust: f64, grad_scale: f32,
            average: maybe_write, momentum: f64);
        /// target = momentum · target + (1 - momentum) · source
        fn lerp = lerp(target: write, source: read, momentum: f64);
        /// y += a x
        fn axpy = axpy(y: write, a: f32, x: read);
    }
}

family! {
    /// What the collapse doctor reads off a batch.
    FigureKernels in figures {
        /// The place of the largest number in each of the first rows.
        fn first_choices = first_choices(rows: usize, k: usize, x: read) -> Vec<u32>;
        /// The participation ratio of the rows' covariance: in how many directions they vary.
        fn effective_rank = effective_rank(rows: usize, dim: usize, x: read) -> f64;
    }
}

/// A stretch of rows.
pub type Stretch = Range<usize>;

/// The most products with a bank that stand in a GPU's memory at once: 256 MiB.
pub const MOST_PRODUCTS: usize = 1 << 26;

/// A query's nearest rows: their products with it, and their places in the bank.
pub type Neighbours = Vec<(f32, u32)>;

family! {
    /// The rows of a bank that are nearest to queries.
    NeighbourKernels in neighbours {
        /// Brings the first rows to unit length, each where it stands.
        fn unit_rows = unit(rows: usize, dim: usize, x: write);
        /// For each of the queries `which` the `most` of the bank's first `rows` rows whose products with it are largest, nearest first, of
        /// equals the earlier one first; fewer where there are no more, or products are no numbers. Products are exact whatever TF32 is set to.
        fn nearest = nearest(dim: usize, most: usize, which: Stretch, queries: read, rows: usize, bank: read) -> Vec<Neighbours>;
    }
}

/// Every kernel that training needs: what a device must bring to run a graph.
pub trait Kernels:
    LinearKernels
    + LayerNormKernels
    + AttentionKernels
    + PatchKernels
    + ConvKernels
    + PoolKernels
    + TokenKernels
    + PositionKernels
    + NormalizeKernels
    + NormedLinearKernels
    + BatchNormKernels
    + LossKernels
    + UpdateKernels
    + FigureKernels
    + NeighbourKernels
{
}

impl Kernels for Cpu {}

#[cfg(feature = "cuda")]
impl Kernels for dfdx::prelude::Cuda {}
