//! Products without the library.

use dfdx::prelude::CudaError;

use super::super::gpu::Gpu;
use super::super::launch::{Launch, Pointer, launch};
use super::super::view::Kind;
use super::{Factor, Plus, Target};

/// A product by a kernel of our own, a thread for each of its numbers: slow, but it takes whatever the library doesn't.
pub(super) fn plain(
    gpu: &Gpu,
    (rows, cols, depth): (usize, usize, usize),
    a: Factor<'_>,
    b: Factor<'_>,
    target: Target<'_, '_>,
) -> Result<(), CudaError> {
    let kernel = match (a.data.kind(), target.out.kind()) {
        (Kind::F32, _) => "matrix_plain_f32_f32",
        (Kind::Bf16, Kind::F32) => "matrix_plain_bf16_f32",
        (Kind::Bf16, _) => "matrix_plain_bf16_bf16",
        (Kind::F16, Kind::F32) => "matrix_plain_f16_f32",
        (Kind::F16, _) => "matrix_plain_f16_f16",
    };
    let plus = Pointer(match target.plus {
        Plus::Nothing => 0,
        Plus::Itself => target.out.pointer(),
        Plus::Other(other) => other.pointer(),
    });
    let [a_steps, b_steps] = [a, b].map(|factor| match factor.transposed {
        false => (factor.width as i64, 1i64),
        true => (1, factor.width as i64),
    });
    let Target { out, width, scale, bias, .. } = target;
    let [rows, cols, depth, width] = [rows, cols, depth, width].map(|side| side as i64);
    launch!(gpu, kernel, Launch::each((rows * cols) as usize, 256); a.data, a_steps.0, a_steps.1, b.data, b_steps.0, b_steps.1,
        rows, cols, depth, scale, bias, plus, out, width)
}
