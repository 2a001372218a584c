//! Factors packed into the lanes that tiles read: b in panels of up to 48 columns, a in rows or in panels of eight rows.

use super::arithmetic::Arithmetic;
use super::tile::{LANES, ROWS};
use super::{Factor, portable};
use crate::kernels::Numbers;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::avx512;

/// Packs these columns of b (16 v lanes, what is beyond the factor 0) for these steps: lanes[step][column].
pub fn columns(
    arithmetic: Arithmetic,
    b: Factor<'_>,
    columns: Range<usize>,
    steps: Range<usize>,
    lanes: &mut [u32],
) {
    assert!(
        lanes.len() >= columns.len().next_multiple_of(LANES) * steps.len(),
        "room for a panel of columns"
    );
    b.assert_holds(columns.end, (steps.end * arithmetic.depth()).min(b.depth));
    match (arithmetic, b.data) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: these arithmetics are chosen where their instructions are; b holds the columns, lanes have the room
        (Arithmetic::Pairs, Numbers::F32(x)) => unsafe {
            avx512::rounded_columns(x.as_ptr(), b, columns, steps, lanes.as_mut_ptr())
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above
        (Arithmetic::Pairs, Numbers::Bf16(x)) => unsafe {
            avx512::half_columns(x.as_ptr(), b, columns, steps, lanes.as_mut_ptr())
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above
        (Arithmetic::Fused { rounded: false }, Numbers::F32(x)) => unsafe {
            avx512::single_columns(x.as_ptr(), b, columns, steps, lanes.as_mut_ptr())
        },
        _ => portable::columns(arithmetic.rounded(), b, columns, steps, lanes),
    }
}

/// Whether rows of a can be read where they lie.
pub fn lies_packed(arithmetic: Arithmetic, a: Factor<'_>) -> bool {
    let fits = match (arithmetic, a.data) {
        // a row of odd length ends within a lane
        (Arithmetic::Pairs, Numbers::Bf16(_)) => a.depth % 2 == 0,
        (Arithmetic::Fused { rounded }, Numbers::F32(_))
        | (Arithmetic::Plain { rounded }, Numbers::F32(_)) => !rounded,
        _ => false,
    };
    fits && a.along == 1
}

/// Whether a is packed in panels of eight rows, lanes[panel][step][row], or in rows, lanes[row][step].
pub fn in_panels(arithmetic: Arithmetic, a: Factor<'_>) -> bool {
    a.along != 1 && !matches!(arithmetic, Arithmetic::Plain { .. })
}

/// Packs these rows of a for these steps.
pub fn rows(
    arithmetic: Arithmetic,
    a: Factor<'_>,
    rows: Range<usize>,
    steps: Range<usize>,
    lanes: &mut [u32],
) {
    assert!(lanes.len() >= rows.len().next_multiple_of(ROWS) * steps.len(), "room for rows");
    a.assert_holds(rows.end, (steps.end * arithmetic.depth()).min(a.depth));
    match (arithmetic, a.data) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: these arithmetics are chosen where their instructions are; a holds the rows, lanes have the room
        (Arithmetic::Pairs, Numbers::F32(x)) => unsafe {
            avx512::rounded_rows(x.as_ptr(), a, rows, steps, lanes.as_mut_ptr())
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above
        (Arithmetic::Pairs, Numbers::Bf16(x)) => unsafe {
            avx512::half_rows(x.as_ptr(), a, rows, steps, lanes.as_mut_ptr())
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above
        (Arithmetic::Fused { rounded: false }, Numbers::F32(x)) => unsafe {
            avx512::single_rows(x.as_ptr(), a, rows, steps, lanes.as_mut_ptr())
        },
        _ if in_panels(arithmetic, a) => portable::row_panels(arithmetic.rounded(), a, rows, steps, lanes),
        _ => portable::rows(arithmetic.rounded(), a, rows, steps, lanes),
    }
}
