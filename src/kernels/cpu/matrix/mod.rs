//! Interim matrix products.
use super::convert::widen;
use super::product::{Matrix as Plain, Onto, product as plain};
use super::split::each_part;
use crate::kernels::{Numbers, Products};

pub mod epilogue;
pub use epilogue::*;

#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub data: Numbers<'a>,
    pub row: usize,
    pub col: usize,
}

impl<'a> Matrix<'a> {
    pub fn rows(data: impl Into<Numbers<'a>>, row: usize) -> Self {
        Matrix { data: data.into(), row, col: 1 }
    }
    pub fn transposed(data: impl Into<Numbers<'a>>, row: usize) -> Self {
        Matrix { data: data.into(), row: 1, col: row }
    }
}

pub trait Epilogue: Sync {
    fn take(&self, first: usize, left: usize, size: (usize, usize), tile: &mut [f32], stride: usize);
}

fn wide(products: Products, x: Numbers<'_>) -> Vec<f32> {
    match x {
        Numbers::F32(x) => {
            if products == Products::Bf16 {
                x.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect()
            } else {
                x.to_vec()
            }
        }
        Numbers::Bf16(x) => {
            let mut y = vec![0.0; x.len()];
            widen(x, &mut y);
            y
        }
    }
}

pub fn product(
    products: Products,
    (m, n, k): (usize, usize, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
    epilogue: &impl Epilogue,
) {
    let (x, y) = (wide(products, a.data), wide(products, b.data));
    let mut c = vec![0.0; m * n];
    plain(
        (m, n, k),
        Plain { data: &x, row: a.row, col: a.col },
        Plain { data: &y, row: b.row, col: b.col },
        &mut c,
        Onto::Overwrite,
    );
    if n > 0 {
        each_part(n, &mut c, |i, row| epilogue.take(i, 0, (1, n), row, n));
    }
}
