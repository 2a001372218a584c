//! What the card's multiply-adders reach on a product that is large enough for them: the yardstick of every share.

use std::time::Instant;

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::matrix::{Factor, Target, product};
use super::view::Kind;
use crate::kernels::Products;

/// Rows, columns and depth of the products that are tried, until one takes long enough.
const SIDES: [usize; 6] = [256, 512, 1024, 2048, 4096, 8192];
/// Seconds that are long enough: starting a product is nothing beside it.
const LONG: f64 = 1e-3;
/// Products that are timed together.
const TIMES: usize = 10;

/// GFLOP/s of a large product with such factors, the better of two rounds.
///
/// # Errors
/// When the card has not the memory, or refuses.
pub fn gflops(gpu: &Gpu, products: Products) -> Result<f64, CudaError> {
    let mut most = 0.0f64;
    for side in SIDES {
        let reached = measured(gpu, products, side, TIMES)?;
        most = most.max(reached);
        if 2.0 * (side as f64).powi(3) / (1e9 * reached) > LONG {
            break;
        }
    }
    Ok(most)
}

fn measured(gpu: &Gpu, products: Products, side: usize, times: usize) -> Result<f64, CudaError> {
    let kind = Kind::of(products);
    // numbers that are neither all zero nor special: a card that has little to switch draws less power and runs faster
    let mut factors = [gpu.zeros(Kind::F32, side * side)?, gpu.zeros(Kind::F32, side * side)?];
    let pattern: Vec<f32> = (0..side).map(|i| ((i * 2_654_435_761) % 1024) as f32 / 512.0 - 1.0).collect();
    for factor in &mut factors {
        let mut view = factor.view_mut();
        for row in 0..side {
            gpu.write(view.slice(row * side..(row + 1) * side), &pattern)?;
        }
    }
    let mut stored = [gpu.unwritten(kind, side * side)?, gpu.unwritten(kind, side * side)?];
    for (to, from) in stored.iter_mut().zip(&factors) {
        super::convert::convert(gpu, from.any(), to.any_mut())?;
    }
    let mut out = gpu.unwritten(kind, side * side)?;
    let mut once = || {
        let (a, b) = (Factor::rows(stored[0].any(), side), Factor::transposed(stored[1].any(), side));
        product(gpu, products, (side, side, side), a, b, Target::new(out.any_mut(), side))
    };
    once()?;
    let mut best = 0.0f64;
    for _ in 0..2 {
        gpu.wait()?;
        let start = Instant::now();
        for _ in 0..times {
            once()?;
        }
        gpu.wait()?;
        let work = 2.0 * (side as f64).powi(3) * times as f64;
        best = best.max(work / start.elapsed().as_secs_f64() / 1e9);
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use crate::kernels::cuda::probe;

    #[test]
    fn a_peak_is_a_positive_number() {
        let Some(gpu) = probe::gpu() else { return };
        for products in probe::ALL {
            let reached = super::measured(gpu, products, 64, 2).unwrap();
            assert!(reached > 0.0 && reached.is_finite(), "{reached}");
        }
    }
}
