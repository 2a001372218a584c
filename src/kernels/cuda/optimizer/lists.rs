//! Reductions over lists of arrays, for which the host waits once.

use std::ffi::c_void;

use dfdx::prelude::CudaError;

use super::room::Room;
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::launch::{Argument, Given, Launch, Pointer, launch};
use crate::kernels::cuda::view::View;

/// Numbers that a block takes (`STRETCH` in optimizer.cu).
pub(super) const STRETCH: usize = 32_768;
/// Arrays of one launch, which fit among a kernel's arguments (`LISTED` there).
const LISTED: usize = 64;
/// A launch's threads of a block.
const THREADS: u32 = 256;

/// Arrays as kernels take them (`Table` there).
#[derive(Clone, Copy)]
#[repr(C)]
struct Table {
    pointers: [u64; LISTED],
    lengths: [i64; LISTED],
    firsts: [i32; LISTED],
    count: i32,
}

// SAFETY: laid out as C lays it out, with the kernel's own types
unsafe impl Argument for Table {
    fn place(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

impl Given for Table {
    type Taken = Table;
    fn given(&self) -> Table {
        *self
    }
}

impl Table {
    /// The table of at most [`LISTED`] arrays, and how many blocks they take.
    fn new(xs: &[View<'_>]) -> (Table, usize) {
        let mut table = Table {
            pointers: [0; LISTED],
            lengths: [0; LISTED],
            firsts: [0; LISTED],
            count: xs.len() as i32,
        };
        let mut blocks = 0;
        for (i, x) in xs.iter().enumerate() {
            table.pointers[i] = x.pointer();
            table.lengths[i] = x.len() as i64;
            table.firsts[i] = blocks as i32;
            blocks += x.len().div_ceil(STRETCH);
        }
        (table, blocks)
    }
}

/// Σ x² of each, in f64 over a partition that depends on its length alone; infinite or NaN where a number is.
pub fn sums_of_squares(gpu: &Gpu, xs: &[View<'_>]) -> Result<Vec<f64>, CudaError> {
    let blocks = |x: &View<'_>| x.len().div_ceil(STRETCH);
    let parts = Room::<f64>::unwritten(gpu, xs.iter().map(blocks).sum())?;
    let mut done = 0;
    for xs in xs.chunks(LISTED) {
        let (table, blocks) = Table::new(xs);
        let to: Pointer = parts.place(done);
        launch!(gpu, "optimizer_squares", Launch::blocks(blocks, THREADS); table, to)?;
        done += blocks;
    }
    let parts = parts.read(gpu)?;
    let mut left = &parts[..];
    let sum = |x: &View<'_>| {
        let (own, others) = left.split_at(blocks(x));
        left = others;
        own.iter().sum()
    };
    Ok(xs.iter().map(sum).collect())
}

/// Whether no number of each is infinite or NaN.
pub fn each_finite(gpu: &Gpu, xs: &[View<'_>]) -> Result<Vec<bool>, CudaError> {
    let bad = Room::<u32>::zeros(gpu, xs.len())?;
    for (i, xs) in xs.chunks(LISTED).enumerate() {
        let (table, blocks) = Table::new(xs);
        launch!(gpu, "optimizer_finite", Launch::blocks(blocks, THREADS); table, bad.place(i * LISTED))?;
    }
    Ok(bad.read(gpu)?.into_iter().map(|bad| bad == 0).collect())
}
