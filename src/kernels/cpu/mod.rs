//! Fast kernels for the processor at hand: AVX-512, AVX2 with FMA, or portable code, chosen at run time.

#[macro_use]
mod isa;
mod convert;
mod lanes;
mod lines;
mod split;
mod vectors;

pub mod attention;
pub mod batch_norm;
pub mod conv;
pub mod figures;
pub mod layer_norm;
pub mod linear;
pub mod loss;
pub mod matrix;
pub mod neighbours;
pub mod normalize;
pub mod normed_linear;
pub mod optimizer;
pub mod patch;
pub mod peak;
pub mod pool;
pub mod position;
pub mod tokens;

use super::Products;

/// The precision of products that this processor is quickest at: bf16 where it multiplies that natively.
pub fn fastest_products() -> Products {
    if isa::isa() == isa::Isa::Avx512Bf16 {
        return Products::Bf16;
    }
    Products::F32
}

#[cfg(test)]
pub(super) use isa::force;
pub use isa::{Isa, VARIABLE, instructions};
