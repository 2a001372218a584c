//! Packing with AVX-512, sixteen lanes at a time.

use super::Factor;
use super::source::{Halves, Rounded, Singles, Source, first};
use super::tile::{LANES, ROWS};
use super::turn::turn;
use half::bf16;
use std::arch::x86_64::*;
use std::ops::Range;

/// Compiles a packing loop for each source, with the instructions that it needs.
macro_rules! packing {
    ($body:ident: $($name:ident($source:ident of $stored:ty, $features:literal)),+) => {$(
        /// # Safety
        /// The instructions must be there, x must be the factor's numbers and hold what is packed, `to` must have room for it.
        #[target_feature(enable = $features)]
        pub unsafe fn $name(x: *const $stored, of: Factor<'_>, outer: Range<usize>, steps: Range<usize>, to: *mut u32) {
            // SAFETY: handed on
            unsafe { $body::<$source>(x, of, outer, steps, to) }
        }
    )+};
}

packing!(columns:
    rounded_columns(Rounded of f32, "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma"),
    half_columns(Halves of bf16, "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma"),
    single_columns(Singles of f32, "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
);
packing!(rows:
    rounded_rows(Rounded of f32, "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma"),
    half_rows(Halves of bf16, "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma"),
    single_rows(Singles of f32, "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
);

/// Where the next number along k stands, if there is one.
#[inline(always)]
fn next<S: Source>(of: Factor<'_>, k: usize) -> Option<usize> {
    (S::DEPTH == 2 && k + 1 < of.depth).then_some(of.along)
}

/// Sends for what is read some steps later: rows that far apart are beyond what processors foresee.
#[inline(always)]
unsafe fn ahead<S: Source>(x: *const S::Stored, along: usize) {
    for i in 0..S::DEPTH {
        let from = x.wrapping_add((8 * S::DEPTH + i) * along);
        // SAFETY: a prefetch reads nothing
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>()) }
    }
}

#[inline(always)]
unsafe fn columns<S: Source>(
    x: *const S::Stored,
    of: Factor<'_>,
    outer: Range<usize>,
    steps: Range<usize>,
    to: *mut u32,
) {
    let groups = outer.len().div_ceil(LANES);
    if of.along != 1 {
        for (row, s) in steps.enumerate() {
            let k = s * S::DEPTH;
            for g in 0..groups {
                let at = outer.start + g * LANES;
                // SAFETY: the mask ends with the factor, and lanes[row] has 16 lanes for each group
                unsafe {
                    let from = x.add(k * of.along + at);
                    ahead::<S>(from, of.along);
                    let lanes = S::across(from, next::<S>(of, k), first(outer.end - at));
                    _mm512_storeu_si512(to.add((row * groups + g) * LANES).cast(), lanes);
                }
            }
        }
        return;
    }
    for g in 0..groups {
        let at = outer.start + g * LANES;
        for s in steps.clone().step_by(LANES) {
            // SAFETY: sixteen columns from `at`, as far as they are there, and steps up to the range's end
            unsafe {
                let mut block = [_mm512_setzero_si512(); LANES];
                gather::<S>(x, of, at..outer.end, s..steps.end, &mut block);
                turn(&mut block);
                for (i, lanes) in block.iter().enumerate().take(steps.end - s) {
                    _mm512_storeu_si512(to.add(((s - steps.start + i) * groups + g) * LANES).cast(), *lanes);
                }
            }
        }
    }
}

/// Sixteen steps of each of sixteen rows that lie along k.
#[inline(always)]
unsafe fn gather<S: Source>(
    x: *const S::Stored,
    of: Factor<'_>,
    outer: Range<usize>,
    steps: Range<usize>,
    block: &mut [__m512i; LANES],
) {
    let k = steps.start * S::DEPTH;
    let count = (steps.end * S::DEPTH).min(of.depth) - k;
    for (i, lanes) in block.iter_mut().enumerate().take(outer.len()) {
        // SAFETY: the row is there, and `count` of its numbers from k on
        unsafe {
            let row = x.add((outer.start + i) * of.across + k);
            // rows sixteen further are what the next group reads
            let ahead = row.wrapping_add(LANES * of.across).cast::<i8>();
            _mm_prefetch::<_MM_HINT_T0>(ahead);
            if size_of::<S::Stored>() * S::DEPTH > 4 {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64));
            }
            *lanes = S::along(row, count);
        }
    }
}

#[inline(always)]
unsafe fn rows<S: Source>(
    x: *const S::Stored,
    of: Factor<'_>,
    outer: Range<usize>,
    steps: Range<usize>,
    to: *mut u32,
) {
    if of.along != 1 {
        let panel = ROWS * steps.len();
        for (row, s) in steps.enumerate() {
            let k = s * S::DEPTH;
            for (g, at) in outer.clone().step_by(LANES).enumerate() {
                // SAFETY: the mask ends with the factor; a second panel of eight is there when it has a row
                unsafe {
                    let from = x.add(k * of.along + at);
                    ahead::<S>(from, of.along);
                    let lanes = S::across(from, next::<S>(of, k), first(outer.end - at));
                    let to = to.add(2 * g * panel + row * ROWS);
                    _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(lanes));
                    if outer.end - at > ROWS {
                        _mm256_storeu_si256(to.add(panel).cast(), _mm512_extracti64x4_epi64::<1>(lanes));
                    }
                }
            }
        }
        return;
    }
    let width = steps.len();
    for (row, i) in outer.enumerate() {
        for s in steps.clone().step_by(LANES) {
            let k = s * S::DEPTH;
            let count = (steps.end * S::DEPTH).min(of.depth) - k;
            // SAFETY: `count` numbers of the row from k on, and room for the steps left
            unsafe {
                let from = x.add(i * of.across + k);
                let next = from.wrapping_add(4 * of.across).cast::<i8>();
                _mm_prefetch::<_MM_HINT_T0>(next);
                if size_of::<S::Stored>() * S::DEPTH > 4 {
                    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(64));
                }
                let lanes = S::along(from, count);
                let to = to.add(row * width + s - steps.start);
                _mm512_mask_storeu_epi32(to.cast(), first(steps.end - s), lanes);
            }
        }
    }
}
