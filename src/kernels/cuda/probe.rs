//! A GPU for tests, its memory full of what must not be read.

use dfdx::prelude::Cuda;

use super::gpu::{Gpu, open};
use super::scratch::Memory;
use super::view::Kind;
use crate::kernels::Products;
use crate::kernels::numbers::Numbers;
use crate::kernels::probe::distance;
use half::bf16;

/// The precisions of products.
pub const ALL: [Products; 3] = [Products::F32, Products::Bf16, Products::F16];

/// The GPU, or nothing and a word on it where there is none to test on.
pub fn gpu() -> Option<&'static Gpu> {
    device().map(|device| Gpu::of(&device).expect("an open GPU"))
}

/// dfdx's device on it.
///
/// # Panics
/// Where there is none and `DINOFLOW_NEEDS_GPU` is set: nothing is to be skipped then.
pub fn device() -> Option<Cuda> {
    match open(0) {
        Ok(device) => Some(device),
        Err(why) if std::env::var_os("DINOFLOW_NEEDS_GPU").is_some() => panic!("there is no GPU: {why}"),
        Err(why) => {
            eprintln!("skipped, for want of a GPU: {why}");
            None
        }
    }
}

/// Numbers on the GPU.
pub fn lent(gpu: &Gpu, values: &[f32]) -> Memory {
    let mut memory = gpu.unwritten(Kind::F32, values.len()).unwrap();
    gpu.write(memory.view_mut(), values).unwrap();
    memory
}

/// Numbers on the GPU in the precision that goes with `products`, rounded by the host.
pub fn stored(gpu: &Gpu, products: Products, values: &[f32]) -> Memory {
    let mut memory = gpu.unwritten(Kind::of(products), values.len()).unwrap();
    super::convert::convert(gpu, lent(gpu, values).any(), memory.any_mut()).unwrap();
    memory
}

/// Room for an output, full of NaNs.
pub fn poisoned(gpu: &Gpu, products: Products, len: usize) -> Memory {
    stored(gpu, products, &vec![f32::NAN; len])
}

/// What a kernel left, as f32.
pub fn taken(gpu: &Gpu, memory: &Memory) -> Vec<f32> {
    let mut wide = gpu.unwritten(Kind::F32, memory.len()).unwrap();
    super::convert::convert(gpu, memory.any(), wide.any_mut()).unwrap();
    gpu.read(wide.view()).unwrap()
}

/// Values that every precision of products holds exactly as `products` does: what both twins start from.
pub fn representable(products: Products, values: &[f32]) -> Vec<f32> {
    let round = |&v: &f32| match products {
        Products::F32 => v,
        Products::Bf16 => bf16::from_f32(v).to_f32(),
        Products::F16 => half::f16::from_f32(v).to_f32(),
    };
    values.iter().map(round).collect()
}

/// The host's numbers as a scalar kernel takes them.
pub fn numbers(values: &[f32]) -> Numbers<'_> {
    values.into()
}

/// How far a result stored for such products may be from its scalar twin: a step of its rounding, and what a kernel's own sums cost.
pub fn tolerance(products: Products, plain: f64) -> f64 {
    match products {
        Products::F32 => plain,
        Products::Bf16 => 8e-3,
        Products::F16 => 1e-3 + plain,
    }
}

/// Holds what a kernel made against what its twin made.
#[track_caller]
pub fn near(what: &str, tolerance: f64, found: &[f32], wanted: &[f32]) {
    let far = distance(found, wanted);
    assert!(far <= tolerance, "{what} is {far:e} from its scalar twin, not within {tolerance:e}");
}
