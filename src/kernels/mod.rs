//! The arithmetic of training, on plain slices and in the memory of GPUs.
//!
//! Matrices are row-major and contiguous. `cpu` is what runs: threaded over rayon's pool, vectorised for the
//! processor it finds. `scalar` says the same in the slowest and most obvious way, with the same signatures, and is
//! the oracle of every test. Both overwrite their outputs unless a document says "added to" (`+=`).
//!
//! Matrix products round their factors to bf16 where they are asked to ([`Products`]); numbers that wait for the backward pass are stored in the
//! same precision ([`Numbers`]). Where only some rows of a matrix are meant, they are read and written where they stand ([`Rows`]). What each kernel is for, and what bounds it (`benches/README.md` has what it reaches):
//!
//! | kernels of `cpu` | work | bound by |
//! | --- | --- | --- |
//! | `matrix` | all products, with bias, GELU and its slope, residual or sum in their last pass | multiply-adds |
//! | `linear` | a layer's products forward and backward, by `matrix` | multiply-adds |
//! | `normed_linear` | the head's last layer, its weights made a stretch at a time | memory: 65,536 prototypes |
//! | `attention` | scores, softmax and values of one head in one cache | multiply-adds, exponentials |
//! | `conv` | convolutions, by `linear` | multiply-adds, copies of windows |
//! | `layer_norm`, `batch_norm`, `normalize` | normalisation of rows and of columns | memory |
//! | `loss` | targets; each loss and its gradient in one pass over the logits; KoLeo | exponentials, memory |
//! | `optimizer` | norms and finiteness; AdamW and the teacher's average in one pass over the weights | memory |
//! | `pool` | the largest and the mean of positions | memory |
//! | `figures` | first choices and effective rank, for the collapse doctor | memory, multiply-adds |
//! | `neighbours` | a bank's rows that are nearest to queries, by `matrix` and a choice | multiply-adds |
//! | `patch`, `tokens`, `position` | pixels to tokens, parts of tensors | memory |
//! | `peak` | nothing: a loop in registers that says what multiply-adds could reach | multiply-adds |
//!
//! `cuda` has the same families under the same names, for NVIDIA GPUs; `family.rs` ties all of them to dfdx's devices.
//!
//! The same inputs give the same bits on any number of threads: work is cut by shape alone and sums are joined in order.
// the shapes of a kernel are its first arguments; bundling them would hide which is which
#![allow(clippy::too_many_arguments)]

#[cfg(test)]
#[macro_use]
mod probe;

mod adamw;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod family;
mod numbers;
mod rows;
pub mod scalar;

pub use cpu::attention::Dims as AttentionDims;
pub use cpu::conv::Dims as ConvDims;
pub use family::*;
pub use numbers::{Numbers, NumbersMut, Products};
pub use rows::Rows;

/// How long a kernel of a device of its own took, over all its starts.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    pub kernel: String,
    pub starts: u64,
    pub seconds: f64,
}
