//! The rows of a bank that are nearest to queries: a stretch of similarities at a time, of which each query keeps its best.

use std::ops::Range;

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, Pointer, launch};
use super::matrix::{Factor, Target, product};
use super::optimizer::room::Room;
use super::view::{Kind, View, ViewMut};
use crate::kernels::{MOST_PRODUCTS, Neighbours, Products};

#[cfg(test)]
mod tests;

/// The most neighbours that a query looks for at once; for more the bank is gone through again.
const AT_ONCE: usize = 1024;

/// Brings the first `rows` rows to unit length, each where it stands.
pub fn unit(gpu: &Gpu, rows: usize, dim: usize, x: ViewMut<'_>) -> Result<(), CudaError> {
    assert!(x.len() >= rows * dim, "{rows} rows of {dim}");
    launch!(gpu, "neighbours_unit", Launch::warps(rows, 256); rows as i64, dim as i32, x)
}

/// For each of the queries `which` the `most` of the bank's first `rows` rows whose products with it are largest, nearest first, of
/// equals the earlier one first. A product that is NaN or minus infinity is nobody's.
pub fn nearest(
    gpu: &Gpu,
    dim: usize,
    most: usize,
    which: Range<usize>,
    queries: View<'_>,
    rows: usize,
    bank: View<'_>,
) -> Result<Vec<Neighbours>, CudaError> {
    Search::new(gpu, dim, which, queries, (rows, bank), MOST_PRODUCTS).nearest(most)
}

/// Queries and the bank that they look in.
struct Search<'a> {
    gpu: &'a Gpu,
    dim: usize,
    /// (count, dim).
    queries: View<'a>,
    count: usize,
    /// (rows, dim).
    bank: View<'a>,
    rows: usize,
    /// Rows of the bank that queries are compared with at once.
    columns: usize,
}

impl<'a> Search<'a> {
    fn new(
        gpu: &'a Gpu,
        dim: usize,
        which: Range<usize>,
        queries: View<'a>,
        (rows, bank): (usize, View<'a>),
        similarities: usize,
    ) -> Self {
        let count = which.len();
        // stretches that begin on a boundary, where there is room for more than a few
        let columns = match similarities / count.max(1) {
            few @ 0..32 => few.max(1),
            many => many - many % 32,
        };
        let queries = queries.slice(which.start * dim..which.end * dim);
        Search { gpu, dim, queries, count, bank: bank.slice(0..rows * dim), rows, columns: columns.min(rows) }
    }

    fn nearest(&self, most: usize) -> Result<Vec<Neighbours>, CudaError> {
        let most = most.min(self.rows);
        let mut found = vec![Neighbours::with_capacity(most); self.count];
        let (mut taken, mut last) = (0, None);
        while taken < most && self.count > 0 {
            let now = AT_ONCE.min(most - taken);
            let best = self.pass(now, last.as_ref())?;
            for (near, keys) in found.iter_mut().zip(best.read(self.gpu)?.chunks(now)) {
                near.extend(keys.iter().take_while(|&&key| key != NOBODY).map(|&key| neighbour(key)));
            }
            (taken, last) = (taken + now, Some((best, now)));
        }
        Ok(found)
    }

    /// Each query's `most` nearest, nearest first, of those that are farther than the last one of an earlier pass.
    fn pass(&self, most: usize, earlier: Option<&(Room<u64>, usize)>) -> Result<Room<u64>, CudaError> {
        let Search { gpu, dim, count, rows, .. } = *self;
        let best = Room::<u64>::zeros(gpu, count * most)?;
        let (under, apart) = earlier.map_or((Pointer(0), 0), |(last, each)| (last.place(each - 1), *each));
        let mut similar = gpu.unwritten(Kind::F32, count * self.columns)?;
        for first in (0..rows).step_by(self.columns) {
            let columns = self.columns.min(rows - first);
            let stretch = self.bank.slice(first * dim..(first + columns) * dim);
            let (a, b) = (Factor::rows(self.queries, dim), Factor::transposed(stretch, dim));
            let target = Target::new(similar.view_mut(), columns).exact();
            product(gpu, Products::F32, (count, columns, dim), a, b, target)?;
            launch!(gpu, "neighbours_merge", Launch::blocks(count, 256); most as i32, first as u32, columns as i32,
                similar, under, apart as i32, best)?;
        }
        Ok(best)
    }
}

/// The key of nobody.
const NOBODY: u64 = 0;

/// What a key stands for (`neighbours_key`).
fn neighbour(key: u64) -> (f32, u32) {
    let (ordered, at) = ((key >> 32) as u32, !(key as u32));
    let bits = if ordered >> 31 == 1 { ordered & (u32::MAX >> 1) } else { !ordered };
    (f32::from_bits(bits), at)
}
