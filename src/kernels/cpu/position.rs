//! Position embeddings for a grid of another size, by bicubic interpolation as the published models use it.
//!
//! Keys' kernel with a = -0.75, no antialiasing, borders clamped; sample i of n stands at `(i + 0.5) / scale - 0.5` with
//! scale = (n + 0.1) / source, the tenth being part of the published recipe.

use super::lanes::mul_add;

/// For each target position its four source positions and their weights.
fn taps(from: usize, to: usize) -> Vec<[(usize, f32); 4]> {
    let scale = (to as f64 + 0.1) / from as f64;
    let tap = |i: usize| {
        let source = (i as f64 + 0.5) / scale - 0.5;
        let first = source.floor();
        [-1.0, 0.0, 1.0, 2.0].map(|step| {
            let at = (first + step).clamp(0.0, (from - 1) as f64) as usize;
            (at, cubic((source - first - step).abs()) as f32)
        })
    };
    (0..to).map(tap).collect()
}

/// Keys' cubic convolution kernel (1981) with a = -0.75 at a distance of 0 to 2.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    }
}

/// Calls `work(weight, source row, target row)` for each of a target's sixteen sources, rows without the CLS token's.
fn each_tap(grid_h: usize, grid_w: usize, to_h: usize, to_w: usize, mut work: impl FnMut(f32, usize, usize)) {
    let (down, across) = (taps(grid_h, to_h), taps(grid_w, to_w));
    for (y, down) in down.iter().enumerate() {
        for (x, across) in across.iter().enumerate() {
            for (from_y, weight_y) in down {
                for (from_x, weight_x) in across {
                    work(weight_y * weight_x, from_y * grid_w + from_x, y * to_w + x);
                }
            }
        }
    }
}

/// pos (1 + grid_h · grid_w, dim) to out (1 + to_h · to_w, dim); the first row, the CLS token's, is copied.
pub fn interpolate(
    grid_h: usize,
    grid_w: usize,
    to_h: usize,
    to_w: usize,
    dim: usize,
    pos: &[f32],
    out: &mut [f32],
) {
    check(grid_h, grid_w, to_h, to_w, dim, pos, out);
    if (grid_h, grid_w) == (to_h, to_w) {
        out.copy_from_slice(pos);
        return;
    }
    out[..dim].copy_from_slice(&pos[..dim]);
    out[dim..].fill(0.0);
    each_tap(grid_h, grid_w, to_h, to_w, |weight, from, to| {
        add_scaled(weight, &pos[(1 + from) * dim..][..dim], &mut out[(1 + to) * dim..][..dim]);
    });
}

/// dpos += the gradient of `interpolate` under dout.
pub fn interpolate_backward(
    grid_h: usize,
    grid_w: usize,
    to_h: usize,
    to_w: usize,
    dim: usize,
    dout: &[f32],
    dpos: &mut [f32],
) {
    check(grid_h, grid_w, to_h, to_w, dim, dpos, dout);
    if (grid_h, grid_w) == (to_h, to_w) {
        add_scaled(1.0, dout, dpos);
        return;
    }
    add_scaled(1.0, &dout[..dim], &mut dpos[..dim]);
    each_tap(grid_h, grid_w, to_h, to_w, |weight, from, to| {
        add_scaled(weight, &dout[(1 + to) * dim..][..dim], &mut dpos[(1 + from) * dim..][..dim]);
    });
}

fn check(grid_h: usize, grid_w: usize, to_h: usize, to_w: usize, dim: usize, pos: &[f32], out: &[f32]) {
    assert!(grid_h * grid_w > 0, "a grid of position embeddings has at least one cell");
    assert_eq!(pos.len(), (1 + grid_h * grid_w) * dim, "source position embeddings");
    assert_eq!(out.len(), (1 + to_h * to_w) * dim, "interpolated position embeddings");
}

vectorised! {
    fn add_scaled<FUSED>(scale: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = mul_add::<FUSED>(scale, *x, *y);
        }
    }
}
