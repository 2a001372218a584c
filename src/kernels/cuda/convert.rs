//! Numbers from one precision to another.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::view::{Any, AnyMut, Kind};

/// Copies numbers into another precision, rounding to nearest even where it has fewer bits.
pub fn convert(gpu: &Gpu, from: Any<'_>, to: AnyMut<'_>) -> Result<(), CudaError> {
    assert_eq!(from.len(), to.len(), "numbers to a place of their size");
    let kernel = match (from.kind(), to.kind()) {
        (Kind::F32, Kind::F32) => "convert_f32_f32",
        (Kind::F32, Kind::Bf16) => "convert_f32_bf16",
        (Kind::F32, Kind::F16) => "convert_f32_f16",
        (Kind::Bf16, Kind::F32) => "convert_bf16_f32",
        (Kind::Bf16, Kind::Bf16) => "convert_bf16_bf16",
        (Kind::Bf16, Kind::F16) => "convert_bf16_f16",
        (Kind::F16, Kind::F32) => "convert_f16_f32",
        (Kind::F16, Kind::Bf16) => "convert_f16_bf16",
        (Kind::F16, Kind::F16) => "convert_f16_f16",
    };
    let len = from.len() as i64;
    launch!(gpu, kernel, Launch::each(from.len().div_ceil(4), 256); from, to, len)
}
