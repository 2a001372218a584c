//! A block of rows of a times a panel of b, tile by tile.

use super::arithmetic::Arithmetic;
use super::{COLUMNS, LANES, ROWS};

/// Eight rows of a, of which some may be the same: lane s of row r stands at `rows[r].add(s * step)`.
pub type Rows = [*const u32; ROWS];

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
    let Some(kernel) = kernel(arithmetic, matches!(a, Left::Panels { .. }), vectors) else {
        return plain(steps, rows, a, b, c, onto);
    };
    for first in (0..rows).step_by(ROWS) {
        before(first);
        // SAFETY: the arithmetic was chosen for its instructions; the assertions keep all within a, b and c
        unsafe {
            kernel(steps, a.rows(first, rows, steps), b.as_ptr(), c.as_mut_ptr().add(first * COLUMNS), onto)
        }
    }
}

/// Sums a register tile: steps, rows of a, b, c, onto.
type Kernel = unsafe fn(usize, Rows, *const u32, *mut f32, bool);

/// The instructions' own loop for rows or panels of a and so many vectors of b, if there is one.
#[cfg(target_arch = "x86_64")]
fn kernel(arithmetic: Arithmetic, panels: bool, vectors: usize) -> Option<Kernel> {
    use super::tile::{pairs, singles};
    Some(match (arithmetic, panels, vectors) {
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
        (Arithmetic::Plain { .. }, ..) => return None,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn kernel(_: Arithmetic, _: bool, _: usize) -> Option<Kernel> {
    None
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
