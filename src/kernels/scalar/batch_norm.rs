//! Batch norm, slowly.

fn column(x: &[f32], rows: usize, dim: usize, c: usize) -> impl Iterator<Item = f64> + Clone + '_ {
    (0..rows).map(move |r| f64::from(x[r * dim + c]))
}

/// What becomes of a normalised number: a residual added, and 0 if that is below and `relu` says so.
fn finished(z: f64, residual: Option<&[f32]>, at: usize, relu: bool) -> f32 {
    let sum = z + residual.map_or(0.0, |r| f64::from(r[at]));
    if relu && sum < 0.0 { 0.0 } else { sum as f32 }
}

/// Training mode over the rows of x.
pub fn forward(
    rows: usize,
    dim: usize,
    eps: f32,
    relu: bool,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
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
            let z = z * f64::from(gain[c]) + f64::from(bias[c]);
            y[r * dim + c] = finished(z, residual, r * dim + c, relu);
        }
        (mean[c], variance[c], rstd[c]) = (m as f32, v as f32, s as f32);
    }
}

/// Evaluation mode with given statistics.
pub fn apply(
    rows: usize,
    dim: usize,
    eps: f32,
    relu: bool,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
    mean: &[f32],
    variance: &[f32],
    y: &mut [f32],
) {
    for i in 0..rows * dim {
        let c = i % dim;
        let z = f64::from(x[i] - mean[c]) / f64::from(variance[c] + eps).sqrt();
        y[i] = finished(z * f64::from(gain[c]) + f64::from(bias[c]), residual, i, relu);
    }
}

/// The gradient of training mode; dx, dresidual, dgain and dbias are added to.
pub fn backward(
    rows: usize,
    dim: usize,
    dy: &[f32],
    y: Option<&[f32]>,
    x: &[f32],
    gain: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    dresidual: Option<&mut [f32]>,
    dgain: &mut [f32],
    dbias: &mut [f32],
) {
    let through = |i: usize| if y.is_none_or(|y| y[i] > 0.0) { dy[i] } else { 0.0 };
    let dy: Vec<f32> = (0..rows * dim).map(through).collect();
    if let Some(dresidual) = dresidual {
        for i in 0..rows * dim {
            dresidual[i] += dy[i];
        }
    }
    for c in 0..dim {
        let (m, s) = (f64::from(mean[c]), f64::from(rstd[c]));
        let z = |r: usize| (f64::from(x[r * dim + c]) - m) * s;
        let plain: f64 = column(&dy, rows, dim, c).sum();
        let along: f64 = (0..rows).map(|r| f64::from(dy[r * dim + c]) * z(r)).sum();
        for r in 0..rows {
            let d = f64::from(dy[r * dim + c]) - (plain + z(r) * along) / rows as f64;
            dx[r * dim + c] += (f64::from(gain[c]) * s * d) as f32;
        }
        dgain[c] += along as f32;
        dbias[c] += plain as f32;
    }
}
