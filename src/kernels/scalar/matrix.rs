//! Matrix products, and what is made of them, slowly.

use super::linear::normal_cdf;
use super::numbers::{factors, store as put, wide};
use crate::kernels::cpu::matrix::Matrix;
use crate::kernels::{NumbersMut, Products};

/// The product a b of a (m, k) and b (k, n), factors rounded if so asked, summed in f64.
pub fn product(
    products: Products,
    (m, n, k): (usize, usize, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
) -> Vec<f64> {
    let (x, y) = (factors(products, a.data), factors(products, b.data));
    let term = |i, j, l| x[i * a.row + l * a.col] * y[l * b.row + j * b.col];
    (0..m * n).map(|at| (0..k).map(|l| term(at / n, at % n, l)).sum()).collect()
}

/// c + bias.
pub fn biased(c: &[f64], bias: Option<&[f32]>) -> Vec<f64> {
    c.iter().enumerate().map(|(i, c)| c + bias.map_or(0.0, |b| f64::from(b[i % b.len()]))).collect()
}

/// y = c + bias.
pub fn store(c: &[f64], bias: Option<&[f32]>, y: NumbersMut<'_>) {
    put(biased(c, bias), y);
}

/// y += c.
pub fn add(c: &[f64], y: &mut [f32]) {
    y.iter_mut().zip(c).for_each(|(y, c)| *y = (f64::from(*y) + c) as f32);
}

/// pre = c + bias, act = gelu(pre).
pub fn gelu(c: &[f64], bias: Option<&[f32]>, pre: NumbersMut<'_>, act: NumbersMut<'_>) {
    let x = biased(c, bias);
    put(x.iter().map(|x| x * normal_cdf(*x)), act);
    put(x, pre);
}

/// dpre = c · gelu'(pre), and pre becomes gelu(pre).
pub fn gelu_backward(c: &[f64], pre: NumbersMut<'_>, dpre: NumbersMut<'_>) {
    let slope = |x: f64| normal_cdf(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let before = wide(pre.as_numbers());
    put(c.iter().zip(&before).map(|(c, pre)| c * slope(*pre)), dpre);
    put(before.into_iter().map(|x| x * normal_cdf(x)), pre);
}

/// y = residual + c + bias.
pub fn residual(c: &[f64], bias: Option<&[f32]>, residual: &[f32], y: &mut [f32]) {
    for (i, c) in biased(c, bias).into_iter().enumerate() {
        y[i] = (f64::from(residual[i]) + c) as f32;
    }
}
