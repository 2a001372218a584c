//! Convolutions with a border of zeros on maps (batch, height, width, channels): what stands under each window is laid out as a
//! row, some images at a time, and the rest are products. Windows of one position that move by one need no laying out.
//!
//! Weights are (out, side, side, inp), outputs (batch, ⌈height / stride⌉, ⌈width / stride⌉, out).

use std::ops::Range;

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::linear;
use super::matrix::{Factor, Plus, Target, product};
use super::scratch::Memory;
use super::view::{Kind, View, ViewMut};
use crate::kernels::{ConvDims, Products};

/// Bytes of windows that are laid out at once, at most, unless one image's are more: what stays in the cache until it is multiplied.
/// Tests have several runs of few images.
const AT_ONCE: usize = if cfg!(test) { 8 << 10 } else { 32 << 20 };

/// Rows of matrices are a multiple of so many numbers, for tensor cores.
const EVEN: usize = 8;

/// The name of a kernel for a kind of numbers.
macro_rules! of_kind {
    ($stem:literal, $kind:expr) => {
        match $kind {
            Kind::F32 => concat!($stem, "_f32"),
            Kind::Bf16 => concat!($stem, "_bf16"),
            Kind::F16 => concat!($stem, "_f16"),
        }
    };
}

/// What is laid out for one of the products: for each position of an image a row, in the precision of products.
struct Layout {
    kernel: &'static str,
    kind: Kind,
    dims: ConvDims,
    positions: usize,
    /// Numbers of one image that they are taken from.
    image: usize,
    channels: usize,
    row: usize,
}

fn grid(dims: ConvDims) -> (usize, usize) {
    (dims.height.div_ceil(dims.stride), dims.width.div_ceil(dims.stride))
}

fn plain(dims: ConvDims) -> bool {
    dims.side == 1 && dims.stride == 1
}

fn check(dims: ConvDims, x: usize, w: usize, y: usize) {
    assert!(dims.side % 2 == 1 && dims.stride > 0, "a window of {} moved by {}", dims.side, dims.stride);
    let positions = dims.batch * grid(dims).0 * grid(dims).1;
    let window = dims.side * dims.side * dims.inp;
    let expected =
        [dims.batch * dims.height * dims.width * dims.inp, dims.out * window, positions * dims.out];
    assert_eq!([x, w, y], expected, "x, w, y of a convolution");
}

impl Layout {
    /// What lies under the windows.
    fn windows(products: Products, dims: ConvDims) -> Layout {
        let (kind, (down, across)) = (Kind::of(products), grid(dims));
        let row = (dims.side * dims.side * dims.inp).next_multiple_of(EVEN);
        let image = dims.height * dims.width * dims.inp;
        let kernel = of_kind!("conv_windows", kind);
        Layout { kernel, kind, dims, positions: down * across, image, channels: dims.inp, row }
    }

    /// The gradients of all outputs that a position of the input has a part in.
    fn back(products: Products, dims: ConvDims) -> Layout {
        let (kind, (down, across)) = (Kind::of(products), grid(dims));
        let row = (dims.side * dims.side * dims.out).next_multiple_of(EVEN);
        let image = down * across * dims.out;
        let kernel = of_kind!("conv_windows_back", kind);
        Layout { kernel, kind, dims, positions: dims.height * dims.width, image, channels: dims.out, row }
    }

    /// Calls `work(positions, their rows)` for runs of images, always the same.
    fn each_run(
        &self,
        gpu: &Gpu,
        from: View<'_>,
        mut work: impl FnMut(Range<usize>, &Memory) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let bytes = self.positions * self.row * self.kind.size();
        let run = (AT_ONCE / bytes.max(1)).clamp(1, self.dims.batch.max(1));
        if self.dims.batch * bytes == 0 {
            return Ok(());
        }
        let room = gpu.unwritten(self.kind, run * self.positions * self.row)?;
        for first in (0..self.dims.batch).step_by(run) {
            let images = first..(first + run).min(self.dims.batch);
            let rows = images.len() * self.positions;
            self.lay_out(gpu, from.slice(images.start * self.image..images.end * self.image), rows, &room)?;
            let start = images.start * self.positions;
            work(start..start + rows, &room)?;
        }
        Ok(())
    }

    fn lay_out(&self, gpu: &Gpu, from: View<'_>, rows: usize, to: &Memory) -> Result<(), CudaError> {
        let ConvDims { height, width, side, stride, .. } = self.dims;
        let (down, across) = grid(self.dims);
        let [row, channels, height, width, side, stride, down, across] =
            [self.row, self.channels, height, width, side, stride, down, across].map(|size| size as i32);
        launch!(gpu, self.kernel, Launch::warps(rows, 256); from, *to, rows as i64, row, channels, height, width, side, stride, down,
            across)
    }
}

/// (batch, channels, pixels) to (batch, pixels, channels).
pub fn channels_last(
    gpu: &Gpu,
    batch: usize,
    channels: usize,
    pixels: usize,
    images: View<'_>,
    maps: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([images.len(), maps.len()], [batch * channels * pixels; 2], "images and maps");
    assert!(channels * pixels < i32::MAX as usize, "an image of {channels} times {pixels} numbers");
    let pieces = (channels * pixels).div_ceil(256);
    let blocks = Launch::blocks(batch * pieces, 256);
    launch!(gpu, "conv_channels_last", blocks; pieces as i32, channels as i32, pixels as i32, images, maps)
}

/// y = x * w.
pub fn forward(
    gpu: &Gpu,
    products: Products,
    dims: ConvDims,
    x: View<'_>,
    w: View<'_>,
    mut y: ViewMut<'_>,
) -> Result<(), CudaError> {
    check(dims, x.len(), w.len(), y.len());
    let (window, out) = (dims.side * dims.side * dims.inp, dims.out);
    if plain(dims) {
        let rows = dims.batch * dims.height * dims.width;
        return linear::forward(gpu, products, rows, window, out, x.into(), w, None, y.into());
    }
    let layout = Layout::windows(products, dims);
    let weights = gpu.unwritten(layout.kind, out * layout.row)?;
    let (kernel, all) = (of_kind!("conv_longer", layout.kind), Launch::each(weights.len(), 256));
    launch!(gpu, kernel, all; w, weights, out as i32, window as i32, layout.row as i32)?;
    layout.each_run(gpu, x, |rows, windows| {
        let (a, b) = (Factor::rows(windows.any(), layout.row), Factor::transposed(weights.any(), layout.row));
        let y = Target::new(y.slice(rows.start * out..rows.end * out), out);
        product(gpu, products, (rows.len(), out, layout.row), a, b, y)
    })
}

/// dw += the gradient of the weights.
pub fn backward_weight(
    gpu: &Gpu,
    products: Products,
    dims: ConvDims,
    dy: View<'_>,
    x: View<'_>,
    mut dw: ViewMut<'_>,
) -> Result<(), CudaError> {
    check(dims, x.len(), dw.len(), dy.len());
    let (window, out) = (dims.side * dims.side * dims.inp, dims.out);
    if plain(dims) {
        let rows = dims.batch * dims.height * dims.width;
        return linear::backward_weight(gpu, products, rows, window, out, dy.into(), x.into(), dw);
    }
    let layout = Layout::windows(products, dims);
    let add = |cols: usize, to: &mut ViewMut<'_>| {
        layout.each_run(gpu, x, |rows, windows| {
            let a = Factor::transposed(dy.slice(rows.start * out..rows.end * out), out);
            let b = Factor::rows(windows.any(), layout.row);
            product(
                gpu,
                products,
                (out, cols, rows.len()),
                a,
                b,
                Target::new(to.lend(), cols).plus(Plus::Itself),
            )
        })
    };
    // rows that start on boundaries are worth a copy
    if window.is_multiple_of(4) {
        return add(window, &mut dw);
    }
    let mut sums = gpu.zeros(Kind::F32, out * layout.row)?;
    add(layout.row, &mut sums.view_mut())?;
    let all = Launch::each(dw.len(), 256);
    launch!(gpu, "conv_add_shorter", all; sums, dw, out as i32, window as i32, layout.row as i32)
}

/// dx += the gradient of the input: each position of it gathers what it has a part in.
pub fn backward_input(
    gpu: &Gpu,
    products: Products,
    dims: ConvDims,
    dy: View<'_>,
    w: View<'_>,
    mut dx: ViewMut<'_>,
) -> Result<(), CudaError> {
    check(dims, dx.len(), w.len(), dy.len());
    let (places, inp, out) = (dims.side * dims.side, dims.inp, dims.out);
    if plain(dims) {
        let rows = dims.batch * dims.height * dims.width;
        return linear::backward_input_add(gpu, products, rows, inp, out, dy.into(), w, dx);
    }
    let layout = Layout::back(products, dims);
    let weights = gpu.unwritten(layout.kind, layout.row * inp)?;
    let (kernel, all) = (of_kind!("conv_turned", layout.kind), Launch::each(weights.len(), 256));
    launch!(gpu, kernel, all; w, weights, out as i32, places as i32, inp as i32, layout.row as i32)?;
    layout.each_run(gpu, dy, |rows, windows| {
        let (a, b) = (Factor::rows(windows.any(), layout.row), Factor::rows(weights.any(), inp));
        let dx = Target::new(dx.slice(rows.start * inp..rows.end * inp), inp).plus(Plus::Itself);
        product(gpu, products, (rows.len(), inp, layout.row), a, b, dx)
    })
}

#[cfg(test)]
mod tests;
