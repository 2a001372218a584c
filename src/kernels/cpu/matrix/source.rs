//! Loads of factors into vectors of sixteen 32-bit lanes, as AVX-512 multiplies them.

use half::bf16;
use std::arch::x86_64::*;

/// A way from stored numbers to lanes.
///
/// Its methods may be used only where AVX-512 (and its BF16 part for pairs) was detected, and read as many numbers as they say.
pub trait Source {
    type Stored: Copy;
    /// Numbers in a lane, neighbours along k.
    const DEPTH: usize;
    /// Lanes of one step along k for `mask`'s neighbours in the other direction; the next number along k is `k` apart, or none.
    unsafe fn across(x: *const Self::Stored, next: Option<usize>, mask: u16) -> __m512i;
    /// Sixteen steps along k of one row, of which `count` numbers are there.
    unsafe fn along(x: *const Self::Stored, count: usize) -> __m512i;
}

/// f32 rounded to bf16, in pairs.
pub struct Rounded;
/// bf16 in pairs.
pub struct Halves;
/// f32 as they are.
pub struct Singles;

/// The first so many of sixteen lanes.
#[inline(always)]
pub fn first(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}

/// Words 0..16 beside words 16..32, lane by lane.
#[inline(always)]
unsafe fn interleave(words: __m512i) -> __m512i {
    #[rustfmt::skip]
    const ORDER: [u16; 32] = [
        0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31,
    ];
    // SAFETY: the order is as long as a vector; the caller vouches for the instructions
    unsafe { _mm512_permutexvar_epi16(_mm512_loadu_si512(ORDER.as_ptr().cast()), words) }
}

// SAFETY of every block below: the caller vouches for the instructions; masked loads touch only what the mask names
impl Source for Rounded {
    type Stored = f32;
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn across(x: *const f32, next: Option<usize>, mask: u16) -> __m512i {
        // SAFETY: see above
        unsafe {
            let low = _mm512_maskz_loadu_ps(mask, x);
            let high = next.map_or(_mm512_setzero_ps(), |k| _mm512_maskz_loadu_ps(mask, x.add(k)));
            interleave(std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)))
        }
    }

    #[inline(always)]
    unsafe fn along(x: *const f32, count: usize) -> __m512i {
        // SAFETY: see above
        unsafe {
            let low = _mm512_maskz_loadu_ps(first(count), x);
            let high = _mm512_maskz_loadu_ps(first(count.saturating_sub(16)), x.wrapping_add(16));
            std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
        }
    }
}

impl Source for Halves {
    type Stored = bf16;
    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn across(x: *const bf16, next: Option<usize>, mask: u16) -> __m512i {
        // SAFETY: see above
        unsafe {
            let low = _mm256_maskz_loadu_epi16(mask, x.cast());
            let high =
                next.map_or(_mm256_setzero_si256(), |k| _mm256_maskz_loadu_epi16(mask, x.add(k).cast()));
            interleave(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high))
        }
    }

    #[inline(always)]
    unsafe fn along(x: *const bf16, count: usize) -> __m512i {
        let mask = if count >= 32 { u32::MAX } else { (1 << count) - 1 };
        // SAFETY: see above
        unsafe { _mm512_maskz_loadu_epi16(mask, x.cast()) }
    }
}

impl Source for Singles {
    type Stored = f32;
    const DEPTH: usize = 1;

    #[inline(always)]
    unsafe fn across(x: *const f32, _: Option<usize>, mask: u16) -> __m512i {
        // SAFETY: see above
        unsafe { _mm512_maskz_loadu_epi32(mask, x.cast()) }
    }

    #[inline(always)]
    unsafe fn along(x: *const f32, count: usize) -> __m512i {
        // SAFETY: see above
        unsafe { _mm512_maskz_loadu_epi32(first(count), x.cast()) }
    }
}
