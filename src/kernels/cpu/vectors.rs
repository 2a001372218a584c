//! Sixteen f32 lanes on each instruction set, for reductions: compilers vectorise maps by themselves, but not reliably
//! sums that must keep their order.

use super::convert::nearest;
use half::bf16;

/// Lanes of a vector.
pub const WIDTH: usize = 16;

/// An instruction set as a type, so that `vectorised!` bodies are compiled once for each.
///
/// Its methods may be used only inside those bodies: that is where the instruction set was detected.
pub trait Vectors: Copy {
    /// Whether multiply-add is one instruction and one rounding.
    const FUSED: bool;
    type V: Copy;
    fn splat(x: f32) -> Self::V;
    fn load(x: &[f32; WIDTH]) -> Self::V;
    fn store(v: Self::V, to: &mut [f32; WIDTH]);
    /// bf16 as f32, exactly.
    fn widen(x: &[bf16; WIDTH]) -> Self::V;
    /// The nearest bf16, ties to even.
    fn narrow(v: Self::V, to: &mut [bf16; WIDTH]);
    fn add(a: Self::V, b: Self::V) -> Self::V;
    fn sub(a: Self::V, b: Self::V) -> Self::V;
    fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// a * b + c
    fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of each pair, NaN when either is.
    fn larger(a: Self::V, b: Self::V) -> Self::V;
    /// The sum of all lanes.
    fn total(v: Self::V) -> f32;
    /// The largest lane, NaN when there is one among them.
    fn largest(v: Self::V) -> f32;
}

/// Joins lanes pairwise.
#[inline(always)]
fn halve(mut lanes: [f32; WIDTH], join: impl Fn(f32, f32) -> f32) -> f32 {
    for width in [8, 4, 2, 1] {
        for l in 0..width {
            lanes[l] = join(lanes[l], lanes[l + width]);
        }
    }
    lanes[0]
}

#[derive(Clone, Copy)]
pub struct Portable;

impl Vectors for Portable {
    const FUSED: bool = cfg!(target_arch = "aarch64");
    type V = [f32; WIDTH];

    #[inline(always)]
    fn splat(x: f32) -> Self::V {
        [x; WIDTH]
    }
    #[inline(always)]
    fn load(x: &[f32; WIDTH]) -> Self::V {
        *x
    }
    #[inline(always)]
    fn store(v: Self::V, to: &mut [f32; WIDTH]) {
        *to = v;
    }
    #[inline(always)]
    fn widen(x: &[bf16; WIDTH]) -> Self::V {
        std::array::from_fn(|l| x[l].to_f32())
    }
    #[inline(always)]
    fn narrow(v: Self::V, to: &mut [bf16; WIDTH]) {
        to.iter_mut().zip(v).for_each(|(to, v)| *to = nearest(v));
    }
    #[inline(always)]
    fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|l| a[l] + b[l])
    }
    #[inline(always)]
    fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|l| a[l] - b[l])
    }
    #[inline(always)]
    fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|l| a[l] * b[l])
    }
    #[inline(always)]
    fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|l| super::lanes::mul_add::<Portable>(a[l], b[l], c[l]))
    }
    #[inline(always)]
    fn larger(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|l| super::lanes::larger(a[l], b[l]))
    }
    #[inline(always)]
    fn total(v: Self::V) -> f32 {
        halve(v, |a, b| a + b)
    }
    #[inline(always)]
    fn largest(v: Self::V) -> f32 {
        halve(v, super::lanes::larger)
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Vectors, WIDTH};
    use crate::kernels::cpu::convert::nearest;
    use half::bf16;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub struct Avx512;

    // SAFETY of every block below: `vectorised!` names these types only after detecting their instruction set, and arrays
    // of sixteen values are as large as what is read from or written to them
    impl Vectors for Avx512 {
        const FUSED: bool = true;
        type V = __m512;

        #[inline(always)]
        fn splat(x: f32) -> __m512 {
            // SAFETY: see above
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        fn load(x: &[f32; WIDTH]) -> __m512 {
            // SAFETY: see above
            unsafe { _mm512_loadu_ps(x.as_ptr()) }
        }
        #[inline(always)]
        fn store(v: __m512, to: &mut [f32; WIDTH]) {
            // SAFETY: see above
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
        }
        #[inline(always)]
        fn widen(x: &[bf16; WIDTH]) -> __m512 {
            // SAFETY: see above
            unsafe {
                let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
            }
        }
        #[inline(always)]
        fn narrow(v: __m512, to: &mut [bf16; WIDTH]) {
            #[rustfmt::skip]
            const UPPER: [u16; 32] = [
                1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
            ];
            // SAFETY: see above; half a unit is added, less a bit unless the kept part is odd, and the upper words are kept. A NaN
            // is made quiet instead: the sum would carry its mantissa into its sign.
            unsafe {
                let bits = _mm512_castps_si512(v);
                let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
                let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
                let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(v, v);
                let rounded = _mm512_mask_add_epi32(quiet, number, bits, half);
                let upper = _mm512_permutexvar_epi16(_mm512_loadu_si512(UPPER.as_ptr().cast()), rounded);
                _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_castsi512_si256(upper));
            }
        }
        #[inline(always)]
        fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        fn sub(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        fn mul(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: see above
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn larger(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above; max returns its second operand when one is NaN, so only a's has to be kept by hand
            unsafe { _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), a) }
        }
        #[inline(always)]
        fn total(v: __m512) -> f32 {
            // SAFETY: see above
            unsafe { _mm512_reduce_add_ps(v) }
        }
        #[inline(always)]
        fn largest(v: __m512) -> f32 {
            // SAFETY: see above
            let (largest, nan) =
                unsafe { (_mm512_reduce_max_ps(v), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v)) };
            if nan == 0 { largest } else { f32::NAN }
        }
    }

    #[derive(Clone, Copy)]
    pub struct Avx2;

    impl Vectors for Avx2 {
        const FUSED: bool = true;
        type V = [__m256; 2];

        #[inline(always)]
        fn splat(x: f32) -> Self::V {
            // SAFETY: see above
            [unsafe { _mm256_set1_ps(x) }; 2]
        }
        #[inline(always)]
        fn load(x: &[f32; WIDTH]) -> Self::V {
            // SAFETY: see above
            [0, 8].map(|at| unsafe { _mm256_loadu_ps(x[at..].as_ptr()) })
        }
        #[inline(always)]
        fn store(v: Self::V, to: &mut [f32; WIDTH]) {
            for (half, v) in to.chunks_exact_mut(8).zip(v) {
                // SAFETY: see above
                unsafe { _mm256_storeu_ps(half.as_mut_ptr(), v) };
            }
        }
        #[inline(always)]
        fn widen(x: &[bf16; WIDTH]) -> Self::V {
            // SAFETY: see above
            [0, 8].map(|at| unsafe {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(x[at..].as_ptr().cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            })
        }
        #[inline(always)]
        fn narrow(v: Self::V, to: &mut [bf16; WIDTH]) {
            let mut lanes = [0.0; WIDTH];
            Self::store(v, &mut lanes);
            to.iter_mut().zip(lanes).for_each(|(to, v)| *to = nearest(v));
        }
        #[inline(always)]
        fn add(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see above
            unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn sub(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see above
            unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn mul(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see above
            unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            // SAFETY: see above
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }
        #[inline(always)]
        fn larger(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see above; as for AVX-512
            let one = |a: __m256, b: __m256| unsafe {
                _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a))
            };
            [one(a[0], b[0]), one(a[1], b[1])]
        }
        #[inline(always)]
        fn total(v: Self::V) -> f32 {
            // SAFETY: see above
            unsafe {
                let eight = _mm256_add_ps(v[0], v[1]);
                let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            }
        }
        #[inline(always)]
        fn largest(v: Self::V) -> f32 {
            let mut lanes = [0.0; WIDTH];
            for (half, v) in lanes.chunks_exact_mut(8).zip(v) {
                // SAFETY: see above
                unsafe { _mm256_storeu_ps(half.as_mut_ptr(), v) };
            }
            super::halve(lanes, crate::kernels::cpu::lanes::larger)
        }
    }
}
