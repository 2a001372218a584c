//! Numbers of either precision as f64, slowly.

use crate::kernels::{Numbers, NumbersMut, Products};
use half::{bf16, f16};

/// These numbers, as they stand.
pub fn wide(x: Numbers<'_>) -> Vec<f64> {
    match x {
        Numbers::F32(x) => x.iter().map(|&x| f64::from(x)).collect(),
        Numbers::Bf16(x) => x.iter().map(|x| x.to_f64()).collect(),
    }
}

/// These numbers as factors of a product.
pub fn factors(products: Products, x: Numbers<'_>) -> Vec<f64> {
    wide(x).into_iter().map(|x| factor(products, x)).collect()
}

/// A number as a factor of a product.
pub fn factor(products: Products, x: f64) -> f64 {
    match products {
        Products::F32 => x,
        Products::F16 => f16::from_f32(x as f32).to_f64(),
        Products::Bf16 => bf16::from_f32(x as f32).to_f64(),
    }
}

/// Stores numbers, rounded once to f32 and, where that is their place, once more to bf16.
pub fn store(from: impl IntoIterator<Item = f64>, to: NumbersMut<'_>) {
    match to {
        NumbersMut::F32(to) => to.iter_mut().zip(from).for_each(|(to, x)| *to = x as f32),
        NumbersMut::Bf16(to) => to.iter_mut().zip(from).for_each(|(to, x)| *to = bf16::from_f32(x as f32)),
    }
}
