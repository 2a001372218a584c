//! Linear layers, slowly: x (rows, inp), w (out, inp), y (rows, out).

use super::numbers::{factors, store, wide};
use crate::kernels::{Numbers, NumbersMut, Products, Rows};

/// x wᵀ + bias in f64.
fn affine(
    products: Products,
    (rows, inp, out): (usize, usize, usize),
    x: Numbers<'_>,
    w: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f64> {
    let (x, w) = (factors(products, x), factors(products, w.into()));
    let one = |r: usize, o: usize| -> f64 {
        let sum: f64 = (0..inp).map(|i| x[r * inp + i] * w[o * inp + i]).sum();
        sum + bias.map_or(0.0, |b| f64::from(b[o]))
    };
    (0..rows).flat_map(|r| (0..out).map(move |o| (r, o))).map(|(r, o)| one(r, o)).collect()
}

/// dy w in f64.
fn back(products: Products, (rows, inp, out): (usize, usize, usize), dy: Numbers<'_>, w: &[f32]) -> Vec<f64> {
    let (dy, w) = (factors(products, dy), factors(products, w.into()));
    let one = |r: usize, i: usize| -> f64 { (0..out).map(|o| dy[r * out + o] * w[o * inp + i]).sum() };
    (0..rows).flat_map(|r| (0..inp).map(move |i| (r, i))).map(|(r, i)| one(r, i)).collect()
}

/// y = x wᵀ + bias.
pub fn forward(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    x: Numbers<'_>,
    w: &[f32],
    bias: Option<&[f32]>,
    y: NumbersMut<'_>,
) {
    store(affine(products, (rows, inp, out), x, w, bias), y);
}

/// pre = x wᵀ + bias, where there is room for it, and y = gelu(pre).
pub fn forward_gelu(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    x: Numbers<'_>,
    w: &[f32],
    bias: Option<&[f32]>,
    pre: Option<NumbersMut<'_>>,
    y: NumbersMut<'_>,
) {
    let sums = affine(products, (rows, inp, out), x, w, bias);
    store(sums.iter().map(|&x| x * normal_cdf(x)), y);
    if let Some(pre) = pre {
        store(sums, pre);
    }
}

/// y = residual + scale · (x wᵀ + bias) in those rows of residual and y that are named.
pub fn forward_residual(
    products: Products,
    rows: Rows<'_>,
    inp: usize,
    out: usize,
    scale: f32,
    x: Numbers<'_>,
    w: &[f32],
    bias: Option<&[f32]>,
    residual: &[f32],
    y: &mut [f32],
) {
    let sums = affine(products, (rows.len(), inp, out), x, w, bias);
    for (i, sum) in sums.into_iter().enumerate() {
        let at = rows.at(i / out) * out + i % out;
        y[at] = (f64::from(residual[at]) + f64::from(scale) * sum) as f32;
    }
}

/// dx = dy w.
pub fn backward_input(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Numbers<'_>,
    w: &[f32],
    dx: NumbersMut<'_>,
) {
    store(back(products, (rows, inp, out), dy, w), dx);
}

/// dx += dy w.
pub fn backward_input_add(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Numbers<'_>,
    w: &[f32],
    dx: &mut [f32],
) {
    for (dx, sum) in dx.iter_mut().zip(back(products, (rows, inp, out), dy, w)) {
        *dx = (f64::from(*dx) + sum) as f32;
    }
}

/// dpre = (dy w) · gelu'(pre), pre becomes gelu(pre), db += the sum of dpre's rows as they are stored.
pub fn backward_gelu(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Numbers<'_>,
    w: &[f32],
    pre: NumbersMut<'_>,
    mut dpre: NumbersMut<'_>,
    db: &mut [f32],
) {
    let (sums, before) = (back(products, (rows, inp, out), dy, w), wide(pre.as_numbers()));
    store(sums.into_iter().zip(&before).map(|(sum, pre)| sum * gelu_slope(*pre)), dpre.lend());
    store(before.into_iter().map(|x| x * normal_cdf(x)), pre);
    backward_bias(rows, inp, dpre.as_numbers(), db);
}

/// dw += dyᵀ x.
pub fn backward_weight(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: Numbers<'_>,
    x: Numbers<'_>,
    dw: &mut [f32],
) {
    let (dy, x) = (factors(products, dy), factors(products, x));
    for o in 0..out {
        for i in 0..inp {
            let sum: f64 = (0..rows).map(|r| dy[r * out + o] * x[r * inp + i]).sum();
            dw[o * inp + i] = (f64::from(dw[o * inp + i]) + sum) as f32;
        }
    }
}

/// db += the sum of dy's rows.
pub fn backward_bias(rows: usize, out: usize, dy: Numbers<'_>, db: &mut [f32]) {
    let dy = wide(dy);
    for o in 0..out {
        let sum: f64 = (0..rows).map(|r| dy[r * out + o]).sum();
        db[o] = (f64::from(db[o]) + sum) as f32;
    }
}

/// gelu'(x) = Φ(x) + x φ(x).
fn gelu_slope(x: f64) -> f64 {
    normal_cdf(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

/// dy *= gelu'(pre), in place.
pub fn gelu_backward(pre: Numbers<'_>, dy: &mut [f32]) {
    for (dy, pre) in dy.iter_mut().zip(wide(pre)) {
        *dy = (f64::from(*dy) * gelu_slope(pre)) as f32;
    }
}

/// y = gelu(x) = x Φ(x).
pub fn gelu_forward(x: Numbers<'_>, y: NumbersMut<'_>) {
    store(wide(x).into_iter().map(|x| x * normal_cdf(x)), y);
}

/// y = max(x, 0), NaN where x is.
pub fn relu_forward(x: &[f32], y: &mut [f32]) {
    for i in 0..x.len() {
        y[i] = if x[i] < 0.0 { 0.0 } else { x[i] };
    }
}

/// dy = 0 where pre is not above 0, in place.
pub fn relu_backward(pre: &[f32], dy: &mut [f32]) {
    for i in 0..pre.len() {
        dy[i] = if pre[i] > 0.0 { dy[i] } else { 0.0 };
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
