//! What the collapse doctor reads off a batch: each row's first choice, and how many directions features vary in.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::loss::threads;
use super::matrix::{Factor, Target, product};
use super::optimizer::room::Room;
use super::optimizer::sums_of_squares;
use super::view::{Kind, View};
use crate::kernels::Products;

#[cfg(test)]
mod tests;

/// Below this share of the rows' squares, what is left of them without their mean is rounding.
const ROUNDING: f64 = 1e-12;

/// For each of the first `rows` rows of k: the place of its largest number, the first where several are; 0 where one is NaN.
pub fn first_choices(gpu: &Gpu, rows: usize, k: usize, x: View<'_>) -> Result<Vec<u32>, CudaError> {
    assert!(x.len() >= rows * k, "{rows} rows of {k}");
    let choices = Room::<u32>::unwritten(gpu, rows)?;
    launch!(gpu, "figures_choices", Launch::blocks(rows, threads(k)); k as i32, x, choices)?;
    choices.read(gpu)
}

/// The participation ratio (Σλ)² / Σλ² of the eigenvalues λ of the covariance of `rows` rows of `dim` numbers: d where they vary
/// alike in d directions and in no other, 0 where all rows are the same but for rounding.
///
/// Σλ is the sum of squares of the rows without their mean, Σλ² that of their Gram matrix.
pub fn effective_rank(gpu: &Gpu, rows: usize, dim: usize, x: View<'_>) -> Result<f64, CudaError> {
    assert_eq!(x.len(), rows * dim, "{rows} rows of {dim}");
    let centred = gpu.unwritten(Kind::F32, rows * dim)?;
    let launch = Launch::blocks(dim.div_ceil(32), 256);
    launch!(gpu, "figures_centred", launch; rows as i32, dim as i32, x, centred)?;
    let mut gram = gpu.unwritten(Kind::F32, rows * rows)?;
    let (a, b) = (Factor::rows(centred.view(), dim), Factor::transposed(centred.view(), dim));
    product(gpu, Products::F32, (rows, rows, dim), a, b, Target::new(gram.view_mut(), rows))?;
    let sums = sums_of_squares(gpu, &[x, centred.view(), gram.view()])?;
    let (all, trace, squares) = (sums[0], sums[1], sums[2]);
    Ok(if trace > ROUNDING * all { trace * trace / squares } else { 0.0 })
}
