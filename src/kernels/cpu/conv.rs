//! Convolutions with a border of zeros on maps (batch, height, width, channels): what stands under each window is laid out as a
//! row, and the rest is a linear layer's work. Windows of one position that move by one need no laying out.
//!
//! Weights are (out, side, side, inp), the channels innermost as in the maps; PyTorch's are `permute(0, 3, 1, 2)` of them.
//! An output is (batch, ⌈height / stride⌉, ⌈width / stride⌉, out).

use super::linear;
use super::split::each_part;
use crate::kernels::Products;
use std::ops::Range;

/// Numbers of windows laid out at once, so that they stay in the cache between being written and being used.
const AT_ONCE: usize = 1 << 19;

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    pub batch: usize,
    /// Positions down and across in the input.
    pub height: usize,
    pub width: usize,
    /// Channels before and after.
    pub inp: usize,
    pub out: usize,
    /// Height and width of the window, odd. The border is half of it.
    pub side: usize,
    /// How far the window moves.
    pub stride: usize,
}

impl Dims {
    /// Positions down and across in the output.
    fn grid(self) -> (usize, usize) {
        (self.height.div_ceil(self.stride), self.width.div_ceil(self.stride))
    }

    /// Positions of one image.
    fn positions(self) -> usize {
        self.grid().0 * self.grid().1
    }

    /// Numbers under one window.
    fn window(self) -> usize {
        self.side * self.side * self.inp
    }

    /// Numbers of one line of the input.
    fn line(self) -> usize {
        self.width * self.inp
    }

    /// Numbers of one image's input.
    fn map(self) -> usize {
        self.height * self.line()
    }

    /// Positions that the border adds on each side.
    fn border(self) -> usize {
        self.side / 2
    }

    /// Whether a window is a row of the input as it lies.
    fn plain(self) -> bool {
        self.side == 1 && self.stride == 1
    }

    /// Calls `work` for runs of images, always the same whatever the number of threads: (images, their windows).
    fn each_run(self, mut work: impl FnMut(Range<usize>, &mut [f32])) {
        let image = self.positions() * self.window();
        let run = (AT_ONCE / image.max(1)).clamp(1, self.batch.max(1));
        let mut windows = vec![0.0; run * image];
        for first in (0..self.batch).step_by(run) {
            let images = first..(first + run).min(self.batch);
            let length = images.len() * image;
            work(images, &mut windows[..length]);
        }
    }

    /// Which numbers of a line of the input lie under the window at column `x`, and where they lie under it.
    fn overlap(self, x: usize) -> (Range<usize>, usize) {
        let start = self.stride * x;
        let from = start.saturating_sub(self.border());
        let to = (start + self.side - self.border()).min(self.width);
        (from * self.inp..to * self.inp, (from + self.border() - start) * self.inp)
    }

    /// Lays out the windows of these images; beyond the border there are zeros.
    fn gather(self, images: Range<usize>, x: &[f32], windows: &mut [f32]) {
        let (down, across) = self.grid();
        let first = images.start * down;
        each_part((across * self.window()).max(1), windows, |task, windows| {
            let (image, y) = ((first + task) / down, (first + task) % down);
            for (column, window) in windows.chunks_exact_mut(self.window()).enumerate() {
                let (span, at) = self.overlap(column);
                for (dy, part) in window.chunks_exact_mut(self.side * self.inp).enumerate() {
                    part.fill(0.0);
                    let row = (self.stride * y + dy).checked_sub(self.border());
                    if let Some(row) = row.filter(|row| *row < self.height) {
                        let line = &x[image * self.map() + row * self.line()..][..self.line()];
                        part[at..at + span.len()].copy_from_slice(&line[span.clone()]);
                    }
                }
            }
        });
    }

    /// The rows of windows that lie on a row of the input.
    fn windows_on(self, row: usize) -> Range<usize> {
        let below = row + self.border();
        (below + 1).saturating_sub(self.side).div_ceil(self.stride)
            ..(below / self.stride + 1).min(self.grid().0)
    }

    /// Adds windows back to where they were taken from; a row of the input is one task, for windows overlap.
    fn scatter(self, images: Range<usize>, windows: &[f32], dx: &mut [f32]) {
        let (down, across) = self.grid();
        let (map, part) = (self.map(), self.side * self.inp);
        each_part(self.line().max(1), &mut dx[images.start * map..images.end * map], |task, dx| {
            let (image, row) = (task / self.height, task % self.height);
            for y in self.windows_on(row) {
                let within = (row + self.border() - self.stride * y) * part;
                for column in 0..across {
                    let from = ((image * down + y) * across + column) * self.window() + within;
                    let (span, at) = self.overlap(column);
                    accumulate(&windows[from + at..][..span.len()], &mut dx[span]);
                }
            }
        });
    }

    /// The numbers of these images' outputs.
    fn outputs(self, images: &Range<usize>) -> Range<usize> {
        let image = self.positions() * self.out;
        images.start * image..images.end * image
    }

    fn check(self, x: usize, w: usize, y: usize) {
        assert!(self.side % 2 == 1 && self.stride > 0, "a window of {} moved by {}", self.side, self.stride);
        let expected =
            [self.batch * self.map(), self.out * self.window(), self.batch * self.positions() * self.out];
        assert_eq!([x, w, y], expected, "x, w, y of a convolution");
    }
}

/// (batch, channels, pixels) to (batch, pixels, channels).
pub fn channels_last(batch: usize, channels: usize, pixels: usize, images: &[f32], maps: &mut [f32]) {
    assert_eq!([images.len(), maps.len()], [batch * channels * pixels; 2], "images and maps");
    each_part((channels * pixels).max(1), maps, |image, map| {
        let image = &images[image * channels * pixels..][..channels * pixels];
        for (channel, plane) in image.chunks_exact(pixels.max(1)).enumerate() {
            for (to, from) in map.iter_mut().skip(channel).step_by(channels).zip(plane) {
                *to = *from;
            }
        }
    });
}

/// y = x * w.
pub fn forward(products: Products, dims: Dims, x: &[f32], w: &[f32], y: &mut [f32]) {
    dims.check(x.len(), w.len(), y.len());
    let (positions, window, out) = (dims.positions(), dims.window(), dims.out);
    if dims.plain() {
        return linear::forward(products, dims.batch * positions, window, out, x.into(), w, None, y.into());
    }
    dims.each_run(|images, windows| {
        dims.gather(images.clone(), x, windows);
        let (rows, windows) = (images.len() * positions, (&*windows).into());
        let y = &mut y[dims.outputs(&images)];
        linear::forward(products, rows, window, out, windows, w, None, y.into());
    });
}

/// dw += the gradient of the weights.
pub fn backward_weight(products: Products, dims: Dims, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    dims.check(x.len(), dw.len(), dy.len());
    let (positions, window, out) = (dims.positions(), dims.window(), dims.out);
    if dims.plain() {
        return linear::backward_weight(
            products,
            dims.batch * positions,
            window,
            out,
            dy.into(),
            x.into(),
            dw,
        );
    }
    dims.each_run(|images, windows| {
        dims.gather(images.clone(), x, windows);
        let (rows, windows) = (images.len() * positions, (&*windows).into());
        let dy = (&dy[dims.outputs(&images)]).into();
        linear::backward_weight(products, rows, window, out, dy, windows, dw);
    });
}

/// dx += the gradient of the input.
pub fn backward_input(products: Products, dims: Dims, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    dims.check(dx.len(), w.len(), dy.len());
    let (positions, window, out) = (dims.positions(), dims.window(), dims.out);
    if dims.plain() {
        return linear::backward_input_add(products, dims.batch * positions, window, out, dy.into(), w, dx);
    }
    dims.each_run(|images, windows| {
        let (rows, dy) = (images.len() * positions, (&dy[dims.outputs(&images)]).into());
        linear::backward_input(products, rows, window, out, dy, w, (&mut *windows).into());
        dims.scatter(images, windows, dx);
    });
}

vectorised! {
    fn accumulate<I>(x: &[f32], sum: &mut [f32]) {
        for (s, x) in sum.iter_mut().zip(x) {
            *s += x;
        }
    }
}

#[cfg(test)]
mod tests;
