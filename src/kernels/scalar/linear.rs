//! Linear layers, slowly: x (rows, inp), w (out, inp), y (rows, out).

/// y = x wᵀ + bias.
pub fn forward(
    rows: usize,
    inp: usize,
    out: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    for r in 0..rows {
        for o in 0..out {
            let sum: f64 = (0..inp).map(|i| f64::from(x[r * inp + i]) * f64::from(w[o * inp + i])).sum();
            y[r * out + o] = (sum + bias.map_or(0.0, |b| f64::from(b[o]))) as f32;
        }
    }
}

/// pre = x wᵀ + bias, y = gelu(pre).
pub fn forward_gelu(
    rows: usize,
    inp: usize,
    out: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    pre: &mut [f32],
    y: &mut [f32],
) {
    forward(rows, inp, out, x, w, bias, pre);
    gelu_forward(pre, y);
}

/// y = residual + s · (x wᵀ + bias), where s is `row_scale[row / rows_per_scale]`, or 1.
pub fn forward_residual(
    rows: usize,
    inp: usize,
    out: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    row_scale: Option<&[f32]>,
    rows_per_scale: usize,
    residual: &[f32],
    y: &mut [f32],
) {
    forward(rows, inp, out, x, w, bias, y);
    for r in 0..rows {
        let scale = row_scale.map_or(1.0, |s| s[r / rows_per_scale]);
        for i in r * out..(r + 1) * out {
            y[i] = residual[i] + scale * y[i];
        }
    }
}

/// dx = dy w, or added to dx.
pub fn backward_input(
    rows: usize,
    inp: usize,
    out: usize,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    accumulate: bool,
) {
    for r in 0..rows {
        for i in 0..inp {
            let sum: f64 = (0..out).map(|o| f64::from(dy[r * out + o]) * f64::from(w[o * inp + i])).sum();
            let before = if accumulate { f64::from(dx[r * inp + i]) } else { 0.0 };
            dx[r * inp + i] = (before + sum) as f32;
        }
    }
}

/// dw += dyᵀ x.
pub fn backward_weight(rows: usize, inp: usize, out: usize, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    for o in 0..out {
        for i in 0..inp {
            let sum: f64 = (0..rows).map(|r| f64::from(dy[r * out + o]) * f64::from(x[r * inp + i])).sum();
            dw[o * inp + i] = (f64::from(dw[o * inp + i]) + sum) as f32;
        }
    }
}

/// db += the sum of dy's rows.
pub fn backward_bias(rows: usize, out: usize, dy: &[f32], db: &mut [f32]) {
    for o in 0..out {
        let sum: f64 = (0..rows).map(|r| f64::from(dy[r * out + o])).sum();
        db[o] = (f64::from(db[o]) + sum) as f32;
    }
}

/// dy *= gelu'(pre), in place.
pub fn gelu_backward(pre: &[f32], dy: &mut [f32]) {
    for (dy, &x) in dy.iter_mut().zip(pre) {
        let x = f64::from(x);
        let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        *dy = (f64::from(*dy) * (normal_cdf(x) + x * density)) as f32;
    }
}

/// y = gelu(x) = x Φ(x).
pub fn gelu_forward(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (f64::from(x) * normal_cdf(f64::from(x))) as f32;
    }
}

/// dst = s · src, where s is `scale[row / rows_per_scale]`.
pub fn scale_rows(rows_per_scale: usize, width: usize, scale: &[f32], src: &[f32], dst: &mut [f32]) {
    for i in 0..src.len() {
        dst[i] = scale[i / width / rows_per_scale] * src[i];
    }
}

/// The normal distribution function in f64: its Taylor-like series near 0, its continued fraction in the tail.
pub fn normal_cdf(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    if x.abs() < 4.0 {
        // Φ(x) = 1/2 + φ(x) (x + x³/3 + x⁵/15 + …) (Marsaglia 2004)
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 2.0;
            term *= x * x / n;
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let mut fraction = x.abs();
    for n in (1..=60).rev() {
        fraction = x.abs() + f64::from(n) / fraction;
    }
    let tail = density / fraction;
    if x < 0.0 { tail } else { 1.0 - tail }
}
