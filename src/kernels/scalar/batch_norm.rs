//! Batch norm, slowly.

fn column(x: &[f32], rows: usize, dim: usize, c: usize) -> impl Iterator<Item = f64> + Clone + '_ {
    (0..rows).map(move |r| f64::from(x[r * dim + c]))
}

/// Training mode over the rows of x.
pub fn forward(
    rows: usize,
    dim: usize,
    eps: f32,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    y: &mut [f32],
    mean: &mut [f32],
    variance: &mut [f32],
    rstd: &mut [f32],
) {
    for c in 0..dim {
        let m = column(x, rows, dim, c).sum::<f64>() / rows as f64;
        let v = column(x, rows, dim, c).map(|x| (x - m).powi(2)).sum::<f64>() / rows as f64;
        let s = 1.0 / (v + f64::from(eps)).sqrt();
        for r in 0..rows {
            let z = (f64::from(x[r * dim + c]) - m) * s;
            y[r * dim + c] = (z * f64::from(gain[c]) + f64::from(bias[c])) as f32;
        }
        (mean[c], variance[c], rstd[c]) = (m as f32, v as f32, s as f32);
    }
}

/// Evaluation mode with given statistics.
pub fn apply(
    rows: usize,
    dim: usize,
    eps: f32,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    mean: &[f32],
    variance: &[f32],
    y: &mut [f32],
) {
    for i in 0..rows * dim {
        let c = i % dim;
        let z = f64::from(x[i] - mean[c]) / f64::from(variance[c] + eps).sqrt();
        y[i] = (z * f64::from(gain[c]) + f64::from(bias[c])) as f32;
    }
}

/// The gradient of training mode; dx, dgain and dbias are added to.
pub fn backward(
    rows: usize,
    dim: usize,
    dy: &[f32],
    x: &[f32],
    gain: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
    dbias: &mut [f32],
) {
    for c in 0..dim {
        let (m, s) = (f64::from(mean[c]), f64::from(rstd[c]));
        let z = |r: usize| (f64::from(x[r * dim + c]) - m) * s;
        let plain: f64 = column(dy, rows, dim, c).sum();
        let along: f64 = (0..rows).map(|r| f64::from(dy[r * dim + c]) * z(r)).sum();
        for r in 0..rows {
            let d = f64::from(dy[r * dim + c]) - (plain + z(r) * along) / rows as f64;
            dx[r * dim + c] += (f64::from(gain[c]) * s * d) as f32;
        }
        dgain[c] += along as f32;
        dbias[c] += plain as f32;
    }
}
