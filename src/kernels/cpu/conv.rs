//! Convolutions of 3 × 3 with stride 2 and a border of zeros on maps (batch, height, width, channels): what stands under
//! each window is laid out as a row, and the rest is a linear layer's work.
//!
//! Weights are (out, 3, 3, inp), the channels innermost as in the maps; PyTorch's are `permute(0, 3, 1, 2)` of them.
//! An output is (batch, ⌈height / 2⌉, ⌈width / 2⌉, out).

use super::linear;
use super::split::each_part;
use crate::kernels::Products;

/// Height and width of the window.
const SIDE: usize = 3;

/// Numbers of windows laid out at once, so that they stay in the cache between being written and being used.
const AT_ONCE: usize = 1 << 19;

/// The sizes of one convolution.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    height: usize,
    width: usize,
    inp: usize,
    out: usize,
}

impl Sizes {
    /// Positions down and across in the output.
    fn grid(self) -> (usize, usize) {
        (self.height.div_ceil(2), self.width.div_ceil(2))
    }

    /// Positions of one image.
    fn positions(self) -> usize {
        self.grid().0 * self.grid().1
    }

    /// Numbers under one window.
    fn window(self) -> usize {
        SIDE * SIDE * self.inp
    }

    /// Numbers of one image's input.
    fn map(self) -> usize {
        self.height * self.width * self.inp
    }

    /// Calls `work` for runs of images, always the same whatever the number of threads: (images, their windows).
    fn each_run(self, mut work: impl FnMut(std::ops::Range<usize>, &mut [f32])) {
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
    fn overlap(self, x: usize) -> (std::ops::Range<usize>, usize) {
        let from = (2 * x).saturating_sub(1);
        let to = (2 * x + SIDE - 1).min(self.width);
        (from * self.inp..to * self.inp, usize::from(x == 0) * self.inp)
    }

    /// Lays out the windows of these images; beyond the border there are zeros.
    fn gather(self, images: std::ops::Range<usize>, x: &[f32], windows: &mut [f32]) {
        let ((down, across), line) = (self.grid(), self.width * self.inp);
        let first = images.start * down;
        each_part((across * self.window()).max(1), windows, |task, windows| {
            let (image, y) = ((first + task) / down, (first + task) % down);
            for (column, window) in windows.chunks_exact_mut(self.window()).enumerate() {
                let (span, at) = self.overlap(column);
                for (dy, part) in window.chunks_exact_mut(SIDE * self.inp).enumerate() {
                    part.fill(0.0);
                    if let Some(row) = (2 * y + dy).checked_sub(1).filter(|row| *row < self.height) {
                        let line = &x[image * self.map() + row * line..][..line];
                        part[at..at + span.len()].copy_from_slice(&line[span.clone()]);
                    }
                }
            }
        });
    }

    /// Adds windows back to where they were taken from; an image is one task, for its windows overlap.
    fn scatter(self, images: std::ops::Range<usize>, windows: &[f32], dx: &mut [f32]) {
        let ((_, across), line) = (self.grid(), self.width * self.inp);
        let (map, image) = (self.map(), self.positions() * self.window());
        each_part(map.max(1), &mut dx[images.start * map..images.end * map], |task, dx| {
            for (position, window) in windows[task * image..][..image].chunks_exact(self.window()).enumerate()
            {
                let (y, (span, at)) = (position / across, self.overlap(position % across));
                for (dy, part) in window.chunks_exact(SIDE * self.inp).enumerate() {
                    if let Some(row) = (2 * y + dy).checked_sub(1).filter(|row| *row < self.height) {
                        accumulate(&part[at..at + span.len()], &mut dx[row * line..][span.clone()]);
                    }
                }
            }
        });
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
pub fn forward(
    products: Products,
    batch: usize,
    height: usize,
    width: usize,
    inp: usize,
    out: usize,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
) {
    let sizes = Sizes { batch, height, width, inp, out };
    sizes.check(x.len(), w.len(), y.len());
    let positions = sizes.positions();
    sizes.each_run(|images, windows| {
        sizes.gather(images.clone(), x, windows);
        let y = &mut y[images.start * positions * out..images.end * positions * out];
        let (rows, windows) = (images.len() * positions, (&*windows).into());
        linear::forward(products, rows, sizes.window(), out, windows, w, None, y.into());
    });
}

/// dw += the gradient of the weights.
pub fn backward_weight(
    products: Products,
    batch: usize,
    height: usize,
    width: usize,
    inp: usize,
    out: usize,
    dy: &[f32],
    x: &[f32],
    dw: &mut [f32],
) {
    let sizes = Sizes { batch, height, width, inp, out };
    sizes.check(x.len(), dw.len(), dy.len());
    let positions = sizes.positions();
    sizes.each_run(|images, windows| {
        sizes.gather(images.clone(), x, windows);
        let dy = &dy[images.start * positions * out..images.end * positions * out];
        let (rows, windows) = (images.len() * positions, (&*windows).into());
        linear::backward_weight(products, rows, sizes.window(), out, dy.into(), windows, dw);
    });
}

/// dx += the gradient of the input.
pub fn backward_input(
    products: Products,
    batch: usize,
    height: usize,
    width: usize,
    inp: usize,
    out: usize,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
) {
    let sizes = Sizes { batch, height, width, inp, out };
    sizes.check(dx.len(), w.len(), dy.len());
    let positions = sizes.positions();
    sizes.each_run(|images, windows| {
        let dy = &dy[images.start * positions * out..images.end * positions * out];
        let rows = images.len() * positions;
        linear::backward_input(products, rows, sizes.window(), out, dy.into(), w, (&mut *windows).into());
        sizes.scatter(images, windows, dx);
    });
}

impl Sizes {
    fn check(self, x: usize, w: usize, y: usize) {
        let expected =
            [self.batch * self.map(), self.out * self.window(), self.batch * self.positions() * self.out];
        assert_eq!([x, w, y], expected, "x, w, y of a convolution");
    }
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
    use crate::kernels::probe::{differentiates, poison, values, weighted};
    use crate::kernels::{Products, scalar};

    fn check(batch: usize, height: usize, width: usize, inp: usize, out: usize) {
        let (x, w) = (values("x", batch * height * width * inp), values("w", out * 9 * inp));
        let dy = values("dy", batch * height.div_ceil(2) * width.div_ceil(2) * out);
        twins!(
            5e-6,
            conv::forward(Products::F32, batch, height, width, inp, out, &x, &w, y),
            y = poison(dy.len())
        );
        twins!(
            1e-5,
            conv::backward_weight(Products::F32, batch, height, width, inp, out, &dy, &x, dw),
            dw = values("dw", w.len())
        );
        twins!(
            1e-5,
            conv::backward_input(Products::F32, batch, height, width, inp, out, &dy, &w, dx),
            dx = values("dx", x.len())
        );
        twins!(0.0, conv::channels_last(batch, inp, height * width, &x, maps), maps = poison(x.len()));
    }

    #[test]
    fn fast_convolutions_agree_with_their_twin() {
        for (batch, height, width, inp, out) in [
            (1, 1, 1, 1, 1),
            (1, 2, 2, 3, 5),
            (3, 5, 7, 3, 8),
            (2, 8, 6, 17, 33),
            (2, 32, 32, 3, 32),
            // more images than one run of windows holds
            (9, 32, 32, 32, 7),
        ] {
            check(batch, height, width, inp, out);
        }
        check(0, 4, 4, 3, 8);
    }

    #[test]
    fn scalar_convolution_differentiates() {
        let [batch, height, width, inp, out] = [2, 3, 4, 2, 3];
        let (x, w, dy) = (values("x", 48), values("w", 54), values("dy", 2 * 2 * 2 * 3));
        let loss = |x: &[f32], w: &[f32]| {
            let mut y = poison(dy.len());
            scalar::conv::forward(Products::F32, batch, height, width, inp, out, x, w, &mut y);
            weighted(&dy, &y)
        };
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        scalar::conv::backward_input(Products::F32, batch, height, width, inp, out, &dy, &w, &mut dx);
        scalar::conv::backward_weight(Products::F32, batch, height, width, inp, out, &dy, &x, &mut dw);
        differentiates("dx", &x, &dx, |x| loss(x, &w));
        differentiates("dw", &w, &dw, |w| loss(&x, w));
    }

    #[test]
    fn one_window_in_the_middle_sees_its_neighbours_in_order() {
        // 3 × 3 maps give 2 × 2 windows; the one at (0, 0) holds the upper left 2 × 2 behind the border
        let x: Vec<f32> = (1..=9).map(|v| v as f32).collect();
        let w: Vec<f32> = (0..9).map(|place| 10f32.powi(place)).collect();
        let mut y = poison(4);
        scalar::conv::forward(Products::F32, 1, 3, 3, 1, 1, &x, &w, &mut y);
        let expected =
            [1e4 + 2e5 + 4e7 + 5e8, 2e3 + 3e4 + 5e6 + 6e7, 4e1 + 5e2 + 7e4 + 8e5, 5e0 + 6e1 + 8e3 + 9e4];
        assert_eq!(y, expected.map(|v: f64| v as f32));
    }
}
