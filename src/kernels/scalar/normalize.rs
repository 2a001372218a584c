//! Unit rows and weight norm, slowly.

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// y = x / max(‖x‖, eps); `norms` is the divisor, negative where it was eps.
pub fn l2_forward(rows: usize, dim: usize, eps: f32, x: &[f32], y: &mut [f32], norms: &mut [f32]) {
    for r in 0..rows {
        let row = &x[r * dim..(r + 1) * dim];
        let (length, eps) = (dot(row, row).sqrt(), f64::from(eps));
        norms[r] = if length < eps { -eps } else { length } as f32;
        for i in 0..dim {
            y[r * dim + i] = (f64::from(row[i]) / length.max(eps)) as f32;
        }
    }
}

/// dx += the gradient of `l2_forward`.
pub fn l2_backward(rows: usize, dim: usize, dy: &[f32], y: &[f32], norms: &[f32], dx: &mut [f32]) {
    for r in 0..rows {
        let row = r * dim..(r + 1) * dim;
        let along = if norms[r] < 0.0 { 0.0 } else { dot(&dy[row.clone()], &y[row.clone()]) };
        for i in row {
            let d = f64::from(dy[i]) - along * f64::from(y[i]);
            dx[i] += (d / f64::from(norms[r].abs())) as f32;
        }
    }
}

/// x / max(‖x‖, eps), in place.
pub fn l2_in_place(rows: usize, dim: usize, eps: f32, x: &mut [f32]) {
    let before = x.to_vec();
    l2_forward(rows, dim, eps, &before, x, &mut vec![0.0; rows]);
}

/// w = g · v / ‖v‖ for each row.
pub fn weight_norm_forward(
    rows: usize,
    dim: usize,
    v: &[f32],
    g: Option<&[f32]>,
    w: &mut [f32],
    norms: &mut [f32],
) {
    for r in 0..rows {
        let row = &v[r * dim..(r + 1) * dim];
        let length = dot(row, row).sqrt();
        norms[r] = length as f32;
        for i in 0..dim {
            w[r * dim + i] = (g.map_or(1.0, |g| f64::from(g[r])) * f64::from(row[i]) / length) as f32;
        }
    }
}

/// dv and dg are added to.
pub fn weight_norm_backward(
    rows: usize,
    dim: usize,
    dw: &[f32],
    v: &[f32],
    g: Option<&[f32]>,
    norms: &[f32],
    dv: &mut [f32],
    mut dg: Option<&mut [f32]>,
) {
    for r in 0..rows {
        let row = r * dim..(r + 1) * dim;
        let length = f64::from(norms[r]);
        let along = dot(&dw[row.clone()], &v[row.clone()]) / length;
        if let Some(dg) = dg.as_deref_mut() {
            dg[r] += along as f32;
        }
        for i in row {
            let d = f64::from(dw[i]) - along / length * f64::from(v[i]);
            dv[i] += (g.map_or(1.0, |g| f64::from(g[r])) / length * d) as f32;
        }
    }
}
