//! Interpolated position embeddings, slowly: as a dense matrix of weights, in f64.

/// How much source cell `from` of `grid` counts in target cell `to` of `wanted`, along one axis.
fn weight(grid: usize, wanted: usize, from: usize, to: usize) -> f64 {
    let source = (to as f64 + 0.5) * grid as f64 / (wanted as f64 + 0.1) - 0.5;
    let mut sum = 0.0;
    for tap in -1..=2 {
        let cell = source.floor() as i64 + tap;
        if cell.clamp(0, grid as i64 - 1) == from as i64 {
            let x = (source - cell as f64).abs();
            sum += match x {
                x if x <= 1.0 => 1.25 * x.powi(3) - 2.25 * x.powi(2) + 1.0,
                x => -0.75 * x.powi(3) + 3.75 * x.powi(2) - 6.0 * x + 3.0,
            };
        }
    }
    sum
}

/// The weight of row `from` of the source (0 is the CLS token) in row `to` of the target.
fn matrix(grid: (usize, usize), wanted: (usize, usize), from: usize, to: usize) -> f64 {
    if from == 0 || to == 0 || grid == wanted {
        return f64::from(u8::from(from == to));
    }
    let (from, to) = (from - 1, to - 1);
    weight(grid.0, wanted.0, from / grid.1, to / wanted.1)
        * weight(grid.1, wanted.1, from % grid.1, to % wanted.1)
}

/// pos (1 + grid_h · grid_w, dim) to out (1 + to_h · to_w, dim).
pub fn interpolate(
    grid_h: usize,
    grid_w: usize,
    to_h: usize,
    to_w: usize,
    dim: usize,
    pos: &[f32],
    out: &mut [f32],
) {
    for to in 0..=to_h * to_w {
        for i in 0..dim {
            let share = |from: usize| {
                matrix((grid_h, grid_w), (to_h, to_w), from, to) * f64::from(pos[from * dim + i])
            };
            out[to * dim + i] = (0..=grid_h * grid_w).map(share).sum::<f64>() as f32;
        }
    }
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
    for from in 0..=grid_h * grid_w {
        for i in 0..dim {
            let share =
                |to: usize| matrix((grid_h, grid_w), (to_h, to_w), from, to) * f64::from(dout[to * dim + i]);
            dpos[from * dim + i] += (0..=to_h * to_w).map(share).sum::<f64>() as f32;
        }
    }
}
