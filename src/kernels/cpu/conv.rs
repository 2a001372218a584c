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
mod tests {
    use super::Dims;
    use crate::kernels::probe::{differentiates, poison, values, weighted};
    use crate::kernels::{Products, scalar};

    fn dims([batch, height, width, inp, out, side, stride]: [usize; 7]) -> Dims {
        Dims { batch, height, width, inp, out, side, stride }
    }

    fn outputs(d: Dims) -> usize {
        d.batch * d.height.div_ceil(d.stride) * d.width.div_ceil(d.stride) * d.out
    }

    fn check(sizes: [usize; 7]) {
        let d = dims(sizes);
        let (x, w) =
            (values("x", d.batch * d.height * d.width * d.inp), values("w", d.out * d.side * d.side * d.inp));
        let dy = values("dy", outputs(d));
        let f32 = Products::F32;
        twins!(5e-6, conv::forward(f32, d, &x, &w, y), y = poison(dy.len()));
        twins!(1e-5, conv::backward_weight(f32, d, &dy, &x, dw), dw = values("dw", w.len()));
        twins!(1e-5, conv::backward_input(f32, d, &dy, &w, dx), dx = values("dx", x.len()));
        let pixels = d.height * d.width;
        twins!(0.0, conv::channels_last(d.batch, d.inp, pixels, &x, maps), maps = poison(x.len()));
    }

    #[test]
    fn fast_convolutions_agree_with_their_twin() {
        for [batch, height, width, inp, out] in [
            [1, 1, 1, 1, 1],
            [1, 2, 2, 3, 5],
            [3, 5, 7, 3, 8],
            [2, 8, 6, 17, 33],
            [2, 32, 32, 3, 32],
            // more images than one run of windows holds
            [9, 32, 32, 32, 7],
            [0, 4, 4, 3, 8],
        ] {
            check([batch, height, width, inp, out, 3, 2]);
            if batch * height * width * inp < 5000 {
                for (side, stride) in [(1, 1), (1, 2), (3, 1), (5, 2), (7, 2), (7, 1), (3, 3)] {
                    check([batch, height, width, inp, out, side, stride]);
                }
            }
        }
    }

    #[test]
    fn scalar_convolution_differentiates() {
        for sizes in
            [[2, 3, 4, 2, 3, 3, 2], [2, 3, 4, 2, 3, 3, 1], [1, 4, 3, 2, 2, 5, 2], [2, 2, 3, 3, 2, 1, 2]]
        {
            let d = dims(sizes);
            let (x, w) = (
                values("x", d.batch * d.height * d.width * d.inp),
                values("w", d.out * d.side * d.side * d.inp),
            );
            let dy = values("dy", outputs(d));
            let loss = |x: &[f32], w: &[f32]| {
                let mut y = poison(dy.len());
                scalar::conv::forward(Products::F32, d, x, w, &mut y);
                weighted(&dy, &y)
            };
            let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
            scalar::conv::backward_input(Products::F32, d, &dy, &w, &mut dx);
            scalar::conv::backward_weight(Products::F32, d, &dy, &x, &mut dw);
            differentiates("dx", &x, &dx, |x| loss(x, &w));
            differentiates("dw", &w, &dw, |w| loss(&x, w));
        }
    }

    #[test]
    fn one_window_in_the_middle_sees_its_neighbours_in_order() {
        // 3 × 3 maps give 2 × 2 windows; the one at (0, 0) holds the upper left 2 × 2 behind the border
        let x: Vec<f32> = (1..=9).map(|v| v as f32).collect();
        let w: Vec<f32> = (0..9).map(|place| 10f32.powi(place)).collect();
        let mut y = poison(4);
        scalar::conv::forward(Products::F32, dims([1, 3, 3, 1, 1, 3, 2]), &x, &w, &mut y);
        let expected =
            [1e4 + 2e5 + 4e7 + 5e8, 2e3 + 3e4 + 5e6 + 6e7, 4e1 + 5e2 + 7e4 + 8e5, 5e0 + 6e1 + 8e3 + 9e4];
        assert_eq!(y, expected.map(|v: f64| v as f32));
    }
}
