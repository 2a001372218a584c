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
    launch!(gpu, kernel, Launch::pass(from.len()); from, to, len)
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::kernels::cuda::probe;
    use crate::kernels::probe::values;

    const KINDS: [Kind; 3] = [Kind::F32, Kind::Bf16, Kind::F16];

    fn round(kind: Kind, x: f32) -> f32 {
        match kind {
            Kind::F32 => x,
            Kind::Bf16 => bf16::from_f32(x).to_f32(),
            Kind::F16 => f16::from_f32(x).to_f32(),
        }
    }

    /// What no precision rounds, what each rounds to either side, ties, and what leaves their range.
    fn numbers(len: usize) -> Vec<f32> {
        let odd = [
            0.0,
            -0.0,
            1.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-40,
            65504.0,
            65519.9,
            65520.0,
            6e-8,
            2.9e-8,
        ];
        let ties = [
            0x3f80_8000,
            0x3f81_8000,
            0x3f80_7fff,
            0x3f80_8001,
            0x3f80_1000,
            0x3f80_3000,
            0x3f80_0fff,
            0x7f80_0001,
        ]
        .map(f32::from_bits);
        values("x", len).into_iter().chain(odd).chain(ties).collect()
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_even() {
        let Some(gpu) = probe::gpu() else { return };
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        for (from, to) in KINDS.into_iter().flat_map(|from| KINDS.map(|to| (from, to))) {
            // whole blocks and not, and starts on no boundary
            for (len, start) in [(0, 0), (3, 1), (1003, 2), (2026, 0), (2026, 3)] {
                let x = numbers(len);
                let lent = probe::lent(gpu, &x);
                let (mut a, b) = (gpu.unwritten(from, x.len()).unwrap(), gpu.zeros(to, x.len()).unwrap());
                convert(gpu, lent.any(), a.any_mut()).unwrap();
                let (at, count) = (b.any().slice(start..x.len()).pointer(), x.len() - start);
                // SAFETY: a stretch of `b`, which nobody else looks at until `taken`
                let target = unsafe { AnyMut::new(to, at, count) };
                convert(gpu, a.any().slice(start..x.len()), target).unwrap();
                for (i, (&x, y)) in x.iter().zip(probe::taken(gpu, &b)).enumerate() {
                    let want = if i < start { 0.0 } else { round(to, round(from, x)) };
                    assert!(same(y, want), "{x} from {from:?} to {to:?} is {y}, not {want}");
                }
            }
        }
    }
}
