//! Convolutions with a border of zeros, slowly.

use super::numbers::factors;
use crate::kernels::{ConvDims, Products};

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
fn each_term(dims: ConvDims, mut term: impl FnMut(usize, usize, usize)) {
    let ConvDims { batch, height, width, inp, out, side, stride } = dims;
    let (down, across) = (height.div_ceil(stride), width.div_ceil(stride));
    for position in 0..batch * down * across {
        let (b, y, x) = (position / (down * across), position / across % down, position % across);
        for place in 0..side * side {
            // the border of zeros on every side moves the window up and left
            let (Some(row), Some(column)) = (
                (stride * y + place / side).checked_sub(side / 2),
                (stride * x + place % side).checked_sub(side / 2),
            ) else {
                continue;
            };
            if row >= height || column >= width {
                continue;
            }
            for o in 0..out {
                for i in 0..inp {
                    let from = ((b * height + row) * width + column) * inp + i;
                    term(position * out + o, from, (o * side * side + place) * inp + i);
                }
            }
        }
    }
}

/// y = x * w.
pub fn forward(products: Products, dims: ConvDims, x: &[f32], w: &[f32], y: &mut [f32]) {
    let mut sums = vec![0f64; y.len()];
    let (x, w) = (factors(products, x.into()), factors(products, w.into()));
    each_term(dims, |to, from, weight| {
        sums[to] += x[from] * w[weight];
    });
    for (y, sum) in y.iter_mut().zip(sums) {
        *y = sum as f32;
    }
}

/// dw += the gradient of the weights.
pub fn backward_weight(products: Products, dims: ConvDims, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    let mut sums: Vec<f64> = dw.iter().map(|&d| f64::from(d)).collect();
    let (dy, x) = (factors(products, dy.into()), factors(products, x.into()));
    each_term(dims, |to, from, weight| {
        sums[weight] += dy[to] * x[from];
    });
    for (dw, sum) in dw.iter_mut().zip(sums) {
        *dw = sum as f32;
    }
}

/// dx += the gradient of the input.
pub fn backward_input(products: Products, dims: ConvDims, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    let mut sums: Vec<f64> = dx.iter().map(|&d| f64::from(d)).collect();
    let (dy, w) = (factors(products, dy.into()), factors(products, w.into()));
    each_term(dims, |to, from, weight| {
        sums[from] += dy[to] * w[weight];
    });
    for (dx, sum) in dx.iter_mut().zip(sums) {
        *dx = sum as f32;
    }
}
