//! Matrix products whose results are finished piece by piece, while they are in cache.
//!
//! A product is cut into tasks by its shape (`cut`); factors are packed into 32-bit lanes, one f32 or two bf16 each
//! (`pack`); tiles of eight rows by 48 columns are summed in registers (`tile`); and an [`Epilogue`] takes every finished piece.

mod arithmetic;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod clock;
mod cut;
mod epilogue;
mod out;
mod pack;
mod portable;
#[cfg(target_arch = "x86_64")]
mod source;
mod task;
#[cfg(target_arch = "x86_64")]
mod tile;
#[cfg(target_arch = "x86_64")]
mod turn;

use super::split::each_task;
use crate::kernels::{Numbers, Products};
use arithmetic::Arithmetic;
use clock::counted;
use cut::Cut;
use task::Job;

pub use clock::spent;
pub use epilogue::{Add, Gelu, GeluAlone, GeluBackward, Residual, Store, Through, Within};

/// Rows of a register tile.
const ROWS: usize = 8;
/// Columns of a register tile, and the row stride of what it is written to.
const COLUMNS: usize = 48;
/// Lanes of a vector.
const LANES: usize = 16;

/// A matrix in a slice: element (i, j) stands at `i * row + j * col`, where `row` or `col` is 1.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    pub data: Numbers<'a>,
    pub row: usize,
    pub col: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix with rows `row` apart.
    pub fn rows(data: impl Into<Numbers<'a>>, row: usize) -> Self {
        Matrix { data: data.into(), row, col: 1 }
    }

    /// The transpose of a row-major matrix with rows `row` apart.
    pub fn transposed(data: impl Into<Numbers<'a>>, row: usize) -> Self {
        Matrix { data: data.into(), row: 1, col: row }
    }
}

/// Takes finished pieces of the product c = a b, in f32.
pub trait Epilogue: Sync {
    /// `tile` holds rows first..first + h and columns left..left + w, its rows `stride` apart; it may be used as scratch.
    /// Every place of c is taken once, by one of several threads.
    fn take(&self, first: usize, left: usize, size: (usize, usize), tile: &mut [f32], stride: usize);

    /// Some rows of a piece are being summed: a chance to send for the memory that `take` will touch.
    fn ahead(&self, first: usize, left: usize, size: (usize, usize)) {
        _ = (first, left, size);
    }
}

/// A factor as packing sees it: numbers along k, and across it rows of a or columns of b.
#[derive(Clone, Copy)]
struct Factor<'a> {
    data: Numbers<'a>,
    across: usize,
    along: usize,
    /// The length of the sum.
    depth: usize,
}

impl Factor<'_> {
    fn assert_holds(self, across: usize, along: usize) {
        let last = |n: usize, stride: usize| n.saturating_sub(1) * stride;
        let enough = across == 0
            || along == 0
            || last(across, self.across) + last(along, self.along) < self.data.len();
        assert!(enough, "a factor of a product is too short for {across} times {along} numbers");
        assert!(self.across == 1 || self.along == 1, "a factor of a product is contiguous in one direction");
    }
}

/// c = a b for a (m, k) and b (k, n), handed to the epilogue piece by piece, on all threads of the current pool.
///
/// Sums are f32, each in one order that depends on the shape alone.
pub fn product(
    products: Products,
    (m, n, k): (usize, usize, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
    epilogue: &(impl Epilogue + ?Sized),
) {
    let wide = |lies: bool, steps: usize| Cut::of(m, n, steps, lies);
    counted(rayon::current_num_threads(), || cut_and_run(products, (m, n, k), a, b, epilogue, wide));
}

/// The same on this thread alone, in one piece: for the small products of a task, whose factors are in cache.
pub fn product_here(
    products: Products,
    (m, n, k): (usize, usize, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
    epilogue: &(impl Epilogue + ?Sized),
) {
    let whole = |_, steps: usize| Cut::whole(m, n, steps);
    counted(1, || cut_and_run(products, (m, n, k), a, b, epilogue, whole));
}

/// Takes a product as `cut` says, which is told whether a is read where it lies, and the lanes of a sum.
fn cut_and_run(
    products: Products,
    (m, n, k): (usize, usize, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
    epilogue: &(impl Epilogue + ?Sized),
    cut: impl FnOnce(bool, usize) -> Cut,
) {
    let a = Factor { data: a.data, across: a.row, along: a.col, depth: k };
    let b = Factor { data: b.data, across: b.col, along: b.row, depth: k };
    a.assert_holds(m, k);
    b.assert_holds(n, k);
    let arithmetic = Arithmetic::of(products);
    let cut = cut(pack::lies_packed(arithmetic, a), k.div_ceil(arithmetic.depth()));
    Job { arithmetic, m, n, a, b, cut, epilogue }.run();
}

#[cfg(test)]
mod tests;
