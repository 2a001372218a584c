//! Matrix products through the `gemm` crate, behind a signature that checks its bounds.

use super::split::{each_task, with_scratch};
use super::transpose::transpose;
use gemm::Parallelism;

/// A matrix in a slice: element (i, j) stands at `i * row + j * col`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub col: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix with rows `row` apart.
    pub fn rows(data: &'a [f32], row: usize) -> Self {
        Matrix { data, row, col: 1 }
    }

    /// The transpose of a row-major matrix with rows `row` apart.
    pub fn transposed(data: &'a [f32], row: usize) -> Self {
        Matrix { data, row: 1, col: row }
    }

    fn holds(&self, m: usize, n: usize) -> bool {
        m == 0 || n == 0 || (m - 1) * self.row + (n - 1) * self.col < self.data.len()
    }
}

/// An output that tasks write disjoint, interleaved pieces of.
#[derive(Clone, Copy)]
pub struct Pieces(*mut f32);
// SAFETY: whoever writes through `at` vouches that tasks write different values
unsafe impl Send for Pieces {}
// SAFETY: as above
unsafe impl Sync for Pieces {}

impl Pieces {
    pub fn of(whole: &mut [f32]) -> Self {
        Pieces(whole.as_mut_ptr())
    }

    /// The address of one value.
    pub fn at(self, index: usize) -> *mut f32 {
        self.0.wrapping_add(index)
    }
}

/// What happens to the values that stand in a product's output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    Overwrite,
    Add,
}

/// `c (+)= factor · a b` with a (m, k), b (k, n) and c (m, n) whose rows are `c_row` apart, all on this thread.
///
/// # Safety
/// `c` must be valid for reads and writes of m rows of n values, `c_row` apart, and nobody else may use those values meanwhile.
pub unsafe fn product_at(
    (m, n, k): (usize, usize, usize),
    factor: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: *mut f32,
    c_row: usize,
    onto: Onto,
    parallelism: Parallelism,
) {
    assert!(a.holds(m, k) && b.holds(k, n), "a factor of a ({m}, {k}) by ({k}, {n}) product is too short");
    // SAFETY: the caller vouches for c, the assertion for a and b; strides of slices fit isize
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            c_row as isize,
            onto == Onto::Add,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            1.0,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `c (+)= a bᵀ` for contiguous a (m, k), b (n, k) and c (m, n) with few rows, where turning b is a large part of the work:
/// each task turns a strip of b that stays in its L2 cache. The `gemm` crate would gather b value by value on one thread.
pub fn product_by_strips((m, n, k): (usize, usize, usize), a: &[f32], b: &[f32], c: &mut [f32], onto: Onto) {
    assert_eq!([a.len(), b.len(), c.len()], [m * k, n * k, m * n], "factors and output of a product");
    let strip = ((1 << 17) / k.max(1)).clamp(64, 256) / 16 * 16;
    let c = Pieces::of(c);
    each_task(n.div_ceil(strip), |task| {
        let first = task * strip;
        let width = strip.min(n - first);
        // whole vectors, so that the product reads the strip as it lies
        let row = width.next_multiple_of(16);
        with_scratch(k * row, |turned| {
            transpose((width, k), &b[first * k..], k, turned, row);
            let (a, turned) = (Matrix::rows(a, k), Matrix::rows(turned, row));
            // SAFETY: this strip of c's columns belongs to this task, and c has m rows of n
            unsafe { product_at((m, width, k), 1.0, a, turned, c.at(first), n, onto, Parallelism::None) }
        });
    });
}

/// `c (+)= a b` with contiguous row-major c (m, n), on all threads when it is large.
pub fn product((m, n, k): (usize, usize, usize), a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], onto: Onto) {
    assert_eq!(c.len(), m * n, "the output of a ({m}, {k}) by ({k}, {n}) product has another length");
    // below this, waking a thread costs more than it brings
    let large = m * n * k > 1 << 20;
    let parallelism = if large { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: c is exclusively borrowed and holds m rows of n
    unsafe { product_at((m, n, k), 1.0, a, b, c.as_mut_ptr(), n, onto, parallelism) }
}
