//! The inner loops: eight rows of a times up to 48 columns of b, whose 24 sums stay in registers.

use super::arithmetic::Arithmetic;
use std::arch::x86_64::*;

/// Rows of a register tile.
pub const ROWS: usize = 8;
/// Columns of a register tile, and the row stride of what it is written to.
pub const COLUMNS: usize = 48;
/// Lanes of a vector.
pub const LANES: usize = 16;

/// Eight rows of a, of which some may be the same: lane s of row r stands at `rows[r].add(s * step)`.
pub type Rows = [*const u32; ROWS];

/// c (8, 16 V) = or += a b for lanes of `PAIRS` of bf16 or single f32; STEP lanes from one lane of a row of a to the next.
///
/// # Safety
/// AVX-512 F, and BF16 for pairs, must be there; a must be readable for `steps` lanes of each row, b for `steps` rows of 16 V
/// lanes, and c readable and writable for eight rows of 16 V values, `COLUMNS` apart.
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

#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma")]
pub unsafe fn pairs<const V: usize, const STEP: usize>(
    steps: usize,
    a: Rows,
    b: *const u32,
    c: *mut f32,
    onto: bool,
) {
    unsafe { sums::<true, V, STEP>(steps, a, b, c, onto) }
}

#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
pub unsafe fn singles<const V: usize, const STEP: usize>(
    steps: usize,
    a: Rows,
    b: *const u32,
    c: *mut f32,
    onto: bool,
) {
    unsafe { sums::<false, V, STEP>(steps, a, b, c, onto) }
}

/// Rows of a as lanes.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// Lane s of row r stands `r * row + 4 * s` bytes from the start.
    Rows { bytes: &'a [u8], row: usize },
    /// lanes[panel of eight rows][step][row].
    Panels { lanes: &'a [u32] },
}

impl Left<'_> {
    fn assert_holds(self, rows: usize, steps: usize) {
        let enough = match self {
            Left::Rows { bytes, row } => rows * steps == 0 || (rows - 1) * row + 4 * steps <= bytes.len(),
            Left::Panels { lanes } => rows.next_multiple_of(ROWS) * steps <= lanes.len(),
        };
        assert!(enough, "{rows} rows of {steps} lanes are more than there are");
    }

    /// Eight rows from `first` on; what is beyond the last row is the last row.
    fn rows(self, first: usize, rows: usize, steps: usize) -> Rows {
        std::array::from_fn(|r| match self {
            Left::Rows { bytes, row } => bytes.as_ptr().wrapping_add((first + r).min(rows - 1) * row).cast(),
            Left::Panels { lanes } => lanes.as_ptr().wrapping_add(first * steps + r),
        })
    }
}

/// c (rows, 48) = or += a b for a panel of b of 16, 32 or 48 lanes a step. c has whole register tiles: what is beyond the last row
/// is written too. `before` is called before each eight rows.
pub fn block(
    arithmetic: Arithmetic,
    steps: usize,
    rows: usize,
    a: Left<'_>,
    b: &[u32],
    c: &mut [f32],
    onto: bool,
    before: impl Fn(usize),
) {
    if steps == 0 {
        if !onto {
            c.fill(0.0);
        }
        return;
    }
    let vectors = b.len() / (steps * LANES);
    assert!(b.len() == vectors * steps * LANES && (1..=3).contains(&vectors), "a panel of b");
    assert!(c.len() >= rows.next_multiple_of(ROWS) * COLUMNS, "room for a block of c");
    a.assert_holds(rows, steps);
    let panels = matches!(a, Left::Panels { .. });
    let kernel: unsafe fn(usize, Rows, *const u32, *mut f32, bool) = match (arithmetic, panels, vectors) {
        (Arithmetic::Pairs, false, 1) => pairs::<1, 1>,
        (Arithmetic::Pairs, false, 2) => pairs::<2, 1>,
        (Arithmetic::Pairs, false, _) => pairs::<3, 1>,
        (Arithmetic::Pairs, true, 1) => pairs::<1, ROWS>,
        (Arithmetic::Pairs, true, 2) => pairs::<2, ROWS>,
        (Arithmetic::Pairs, true, _) => pairs::<3, ROWS>,
        (Arithmetic::Fused { .. }, false, 1) => singles::<1, 1>,
        (Arithmetic::Fused { .. }, false, 2) => singles::<2, 1>,
        (Arithmetic::Fused { .. }, false, _) => singles::<3, 1>,
        (Arithmetic::Fused { .. }, true, 1) => singles::<1, ROWS>,
        (Arithmetic::Fused { .. }, true, 2) => singles::<2, ROWS>,
        (Arithmetic::Fused { .. }, true, _) => singles::<3, ROWS>,
        (Arithmetic::Plain { .. }, ..) => return plain(steps, rows, a, b, c, onto),
    };
    for first in (0..rows).step_by(ROWS) {
        before(first);
        // SAFETY: the arithmetic was chosen for its instructions; the assertions keep all within a, b and c
        unsafe {
            kernel(steps, a.rows(first, rows, steps), b.as_ptr(), c.as_mut_ptr().add(first * COLUMNS), onto)
        }
    }
}

/// The same by the `gemm` crate.
fn plain(steps: usize, rows: usize, a: Left<'_>, b: &[u32], c: &mut [f32], onto: bool) {
    let Left::Rows { bytes, row } = a else {
        unreachable!("plain factors are packed in rows");
    };
    let wide = b.len() / steps;
    // SAFETY: `block` has checked all lengths; lanes are f32 values
    unsafe {
        gemm::gemm(
            rows,
            wide,
            steps,
            c.as_mut_ptr(),
            1,
            COLUMNS as isize,
            onto,
            bytes.as_ptr().cast::<f32>(),
            1,
            (row / 4) as isize,
            b.as_ptr().cast::<f32>(),
            1,
            wide as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
