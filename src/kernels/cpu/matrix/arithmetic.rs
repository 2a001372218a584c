//! What multiplies: chosen by the precision asked for and by the processor.

use super::super::isa::{Isa, isa};
use crate::kernels::Products;

/// How factors stand in their 32-bit lanes, and which instructions multiply them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arithmetic {
    /// Two bf16 a lane, neighbours along k: AVX-512's VDPBF16PS adds both products to an f32.
    Pairs,
    /// One f32 a lane, multiplied by AVX-512's fused multiply-add; rounded to bf16 first if so asked.
    Fused { rounded: bool },
    /// One f32 a lane, multiplied by the `gemm` crate.
    Plain { rounded: bool },
}

impl Arithmetic {
    pub fn of(products: Products) -> Self {
        let rounded = products == Products::Bf16;
        match isa() {
            Isa::Avx512Bf16 if rounded => Arithmetic::Pairs,
            Isa::Avx512Bf16 | Isa::Avx512 => Arithmetic::Fused { rounded },
            Isa::Avx2 | Isa::Portable => Arithmetic::Plain { rounded },
        }
    }

    /// Values of a row of a, or of a column of b, that share a lane.
    pub fn depth(self) -> usize {
        if self == Arithmetic::Pairs { 2 } else { 1 }
    }

    /// Whether f32 factors are rounded to bf16.
    pub fn rounded(self) -> bool {
        match self {
            Arithmetic::Pairs => true,
            Arithmetic::Fused { rounded } | Arithmetic::Plain { rounded } => rounded,
        }
    }
}
