//! Mean squared error between rows of unit length.

use dfdx::prelude::CudaError;

use super::weighted;
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::launch::{Launch, launch};
use crate::kernels::cuda::optimizer::room::Room;
use crate::kernels::cuda::view::{View, ViewMut};

/// The sum over pairs (teacher view i, student view v ≠ i) and over rows of ‖s - t‖², times `weight`, and its gradient.
/// student (views, batch, k), teacher (globals, batch, k); dstudent is overwritten.
pub fn squared_distances(
    gpu: &Gpu,
    globals: usize,
    views: usize,
    batch: usize,
    k: usize,
    student: View<'_>,
    teacher: View<'_>,
    weight: f32,
    dstudent: ViewMut<'_>,
) -> Result<f64, CudaError> {
    assert_eq!([student.len(), dstudent.len()], [views * batch * k; 2], "student rows are (views, batch, k)");
    assert_eq!(teacher.len(), globals * batch * k, "teacher rows are (globals, batch, k)");
    let rows = views * batch;
    let losses = Room::<f64>::unwritten(gpu, rows)?;
    launch!(gpu, "loss_distances", Launch::warps(rows, 256); rows as i32, globals as i32, batch as i32, k as i32,
        student, teacher, 2.0 * weight, dstudent, losses)?;
    weighted(gpu, &losses, weight)
}
