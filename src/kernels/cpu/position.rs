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
    fn add_scaled<I>(scale: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = mul_add::<I>(scale, *x, *y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::interpolate;
    use crate::kernels::probe::{distance, poison, values};

    fn check(grid: (usize, usize), to: (usize, usize), dim: usize) {
        let (pos, dout) =
            (values("pos", (1 + grid.0 * grid.1) * dim), values("dout", (1 + to.0 * to.1) * dim));
        twins!(2e-6, position::interpolate(grid.0, grid.1, to.0, to.1, dim, &pos, o), o = poison(dout.len()));
        twins!(
            2e-6,
            position::interpolate_backward(grid.0, grid.1, to.0, to.1, dim, &dout, dpos),
            dpos = values("dpos", pos.len())
        );
    }

    #[test]
    fn fast_interpolation_agrees_with_its_twin() {
        for (grid, to) in [
            ((1, 1), (1, 1)),
            ((1, 1), (3, 2)),
            ((4, 4), (2, 2)),
            ((7, 7), (3, 5)),
            ((5, 6), (5, 6)),
            ((3, 4), (9, 7)),
        ] {
            check(grid, to, 8);
            check(grid, to, 37);
        }
    }

    /// The reference inputs' formula: 24 bits of SplitMix64 under the name's FNV-1a, in [-1, 1).
    fn formula(name: &str, n: usize) -> Vec<f32> {
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let value = |i: u64| {
            let mut z = hash.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..n as u64).map(value).collect()
    }

    #[test]
    fn interpolation_agrees_with_the_reference() {
        let text = include_str!("../../../tests/fixtures/position_embeddings.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        for case in &cases {
            let number = |v: &serde_json::Value| v.as_u64().unwrap() as usize;
            let (grid, dim) = (number(&case["grid"]), number(&case["dim"]));
            let (to_h, to_w) = (number(&case["to"][0]), number(&case["to"][1]));
            let want: Vec<f32> =
                case["out"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
            let pos = formula(case["source"].as_str().unwrap(), (1 + grid * grid) * dim);
            let mut out = poison((1 + to_h * to_w) * dim);
            interpolate(grid, grid, to_h, to_w, dim, &pos, &mut out);
            let far = distance(&out, &want);
            assert!(far < 1e-6, "{grid} to {to_h}x{to_w}: {far:e}");
        }
        assert!(cases.len() > 1, "the reference has several grids");
    }
}
