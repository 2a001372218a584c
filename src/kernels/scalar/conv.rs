//! Convolutions of 3 × 3 with stride 2 and a border of zeros, slowly.

use super::numbers::factors;
use crate::kernels::Products;

/// Numbers under a window of the weights.
const SIDE: usize = 3;

/// (batch, channels, pixels) to (batch, pixels, channels).
pub fn channels_last(batch: usize, channels: usize, pixels: usize, images: &[f32], maps: &mut [f32]) {
    for b in 0..batch {
        for c in 0..channels {
            for p in 0..pixels {
                maps[(b * pixels + p) * channels + c] = images[(b * channels + c) * pixels + p];
            }
        }
    }
}

/// Calls `term(y index, x index, w index)` for each product of the convolution.
fn each_term([batch, height, width, inp, out]: [usize; 5], mut term: impl FnMut(usize, usize, usize)) {
    let (down, across) = (height.div_ceil(2), width.div_ceil(2));
    for position in 0..batch * down * across {
        let (b, y, x) = (position / (down * across), position / across % down, position % across);
        for place in 0..SIDE * SIDE {
            // the border of one zero on every side moves the window up and left
            let (Some(row), Some(column)) =
                ((2 * y + place / SIDE).checked_sub(1), (2 * x + place % SIDE).checked_sub(1))
            else {
                continue;
            };
            if row >= height || column >= width {
                continue;
            }
            for o in 0..out {
                for i in 0..inp {
                    let from = ((b * height + row) * width + column) * inp + i;
                    term(position * out + o, from, (o * SIDE * SIDE + place) * inp + i);
                }
            }
        }
    }
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
    let mut sums = vec![0f64; y.len()];
    let (x, w) = (factors(products, x.into()), factors(products, w.into()));
    each_term([batch, height, width, inp, out], |to, from, weight| {
        sums[to] += x[from] * w[weight];
    });
    for (y, sum) in y.iter_mut().zip(sums) {
        *y = sum as f32;
    }
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
    let mut sums: Vec<f64> = dw.iter().map(|&d| f64::from(d)).collect();
    let (dy, x) = (factors(products, dy.into()), factors(products, x.into()));
    each_term([batch, height, width, inp, out], |to, from, weight| {
        sums[weight] += dy[to] * x[from];
    });
    for (dw, sum) in dw.iter_mut().zip(sums) {
        *dw = sum as f32;
    }
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
    let mut sums: Vec<f64> = dx.iter().map(|&d| f64::from(d)).collect();
    let (dy, w) = (factors(products, dy.into()), factors(products, w.into()));
    each_term([batch, height, width, inp, out], |to, from, weight| {
        sums[from] += dy[to] * w[weight];
    });
    for (dx, sum) in dx.iter_mut().zip(sums) {
        *dx = sum as f32;
    }
}
