//! Transposition of sixteen vectors of sixteen lanes in registers.

use std::arch::x86_64::*;

/// Lane j of vector i becomes lane i of vector j.
///
/// # Safety
/// AVX-512 F must be there.
#[inline(always)]
pub unsafe fn turn(rows: &mut [__m512i; 16]) {
    // SAFETY: the caller vouches for the instructions
    unsafe {
        let mut x = *rows;
        // pairs of rows, then fours: within each 128-bit quarter
        for i in (0..16).step_by(2) {
            x[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
            x[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        }
        let mut y = x;
        for i in (0..16).step_by(4) {
            y[i] = _mm512_unpacklo_epi64(x[i], x[i + 2]);
            y[i + 1] = _mm512_unpackhi_epi64(x[i], x[i + 2]);
            y[i + 2] = _mm512_unpacklo_epi64(x[i + 1], x[i + 3]);
            y[i + 3] = _mm512_unpackhi_epi64(x[i + 1], x[i + 3]);
        }
        // y[4 g + c]: quarter q holds column 4 q + c of rows 4 g..4 g + 4; quarters are exchanged in two steps
        for c in 0..4 {
            let (even_01, odd_01) =
                (_mm512_shuffle_i32x4::<0x88>(y[c], y[4 + c]), _mm512_shuffle_i32x4::<0xdd>(y[c], y[4 + c]));
            let (even_23, odd_23) = (
                _mm512_shuffle_i32x4::<0x88>(y[8 + c], y[12 + c]),
                _mm512_shuffle_i32x4::<0xdd>(y[8 + c], y[12 + c]),
            );
            rows[c] = _mm512_shuffle_i32x4::<0x88>(even_01, even_23);
            rows[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even_01, even_23);
            rows[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd_01, odd_23);
            rows[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd_01, odd_23);
        }
    }
}
