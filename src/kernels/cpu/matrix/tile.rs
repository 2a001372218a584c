//! The inner loops: eight rows of a times up to 48 columns of b, whose 24 sums stay in registers.

use super::block::Rows;
use super::{COLUMNS, LANES, ROWS};
use std::arch::x86_64::*;

/// c (8, 16 V) = or += a b for lanes of `PAIRS` of bf16 or single f32; STEP lanes from one lane of a row of a to the next.
///
/// # Safety
/// AVX-512 F, and BF16 for pairs, must be there; a must be readable for `steps` lanes of each row, b for `steps` rows of 16 V
/// lanes, and c readable and writable for eight rows of 16 V values, `COLUMNS` apart.
// indices as plain as these keep every sum in a register
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn sums<const PAIRS: bool, const V: usize, const STEP: usize>(
    steps: usize,
    a: Rows,
    b: *const u32,
    c: *mut f32,
    onto: bool,
) {
    // SAFETY: the caller vouches for the instructions and for every address
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; ROWS];
        if onto {
            for r in 0..ROWS {
                for v in 0..V {
                    sums[r][v] = _mm512_loadu_ps(c.add(r * COLUMNS + v * LANES));
                }
            }
        }
        for s in 0..steps {
            let mut right = [_mm512_setzero_ps(); V];
            for v in 0..V {
                right[v] = _mm512_loadu_ps(b.add((s * V + v) * LANES).cast());
            }
            for r in 0..ROWS {
                let left = _mm512_set1_ps(a[r].add(s * STEP).cast::<f32>().read_unaligned());
                for v in 0..V {
                    sums[r][v] = if PAIRS {
                        let pairs = |x| std::mem::transmute::<__m512, __m512bh>(x);
                        _mm512_dpbf16_ps(sums[r][v], pairs(left), pairs(right[v]))
                    } else {
                        _mm512_fmadd_ps(left, right[v], sums[r][v])
                    };
                }
            }
        }
        for r in 0..ROWS {
            for v in 0..V {
                _mm512_storeu_ps(c.add(r * COLUMNS + v * LANES), sums[r][v]);
            }
        }
    }
}

/// Tiles of pairs of bf16.
///
/// # Safety
/// As for `sums`.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma")]
pub unsafe fn pairs<const V: usize, const STEP: usize>(
    steps: usize,
    a: Rows,
    b: *const u32,
    c: *mut f32,
    onto: bool,
) {
    // SAFETY: handed on
    unsafe { sums::<true, V, STEP>(steps, a, b, c, onto) }
}

/// Tiles of f32.
///
/// # Safety
/// As for `sums`.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
pub unsafe fn singles<const V: usize, const STEP: usize>(
    steps: usize,
    a: Rows,
    b: *const u32,
    c: *mut f32,
    onto: bool,
) {
    // SAFETY: handed on
    unsafe { sums::<false, V, STEP>(steps, a, b, c, onto) }
}
