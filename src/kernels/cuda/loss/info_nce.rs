//! InfoNCE against a queue of negatives.

use dfdx::prelude::CudaError;

use super::{threads, weighted};
use crate::kernels::Products;
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::launch::{Launch, launch};
use crate::kernels::cuda::matrix::{Factor, Plus, Target, product};
use crate::kernels::cuda::optimizer::room::Room;
use crate::kernels::cuda::view::{Kind, View, ViewMut};

/// Student rows whose products with the queue are held at once.
const ROWS: usize = 256;

/// The sum over pairs (teacher view i, student view v ≠ i) and over rows of -log(e^(s·t) / (e^(s·t) + Σ e^(s·n))), all products over
/// `temperature` and n the rows of the queue, times `weight`; and its gradient. All rows are of unit length: student
/// (views, batch, k), teacher (globals, batch, k), queue (negatives, k); dstudent is overwritten.
pub fn info_nce(
    gpu: &Gpu,
    globals: usize,
    views: usize,
    batch: usize,
    k: usize,
    negatives: usize,
    student: View<'_>,
    teacher: View<'_>,
    queue: View<'_>,
    temperature: f32,
    weight: f32,
    mut dstudent: ViewMut<'_>,
) -> Result<f64, CudaError> {
    let rows = views * batch;
    assert_eq!([student.len(), dstudent.len()], [rows * k; 2], "student rows are (views, batch, k)");
    let lengths = [globals * batch * k, negatives * k];
    assert_eq!([teacher.len(), queue.len()], lengths, "teacher (globals, batch, k), queue (negatives, k)");
    assert!(negatives > 0 && k > 0, "a queue with something in it");
    let (inverse, many) = (1.0 / temperature, |side: usize| side as i32);
    let losses = Room::<f64>::unwritten(gpu, rows)?;
    let mut scores = gpu.unwritten(Kind::F32, rows.min(ROWS) * negatives)?;
    for first in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - first);
        let own = first * k..(first + count) * k;
        let (a, b) = (Factor::rows(student.slice(own.clone()), k), Factor::transposed(queue, k));
        let to = Target::new(scores.view_mut(), negatives);
        product(gpu, Products::F32, (count, negatives, k), a, b, to)?;
        let launch = Launch::blocks(count, threads(negatives)).shared(4 * globals);
        launch!(gpu, "loss_contrast", launch; many(first), many(globals), many(batch), many(k), many(negatives), student,
            teacher, inverse, weight * inverse, scores, dstudent, losses)?;
        let (a, b) = (Factor::rows(scores.view(), negatives), Factor::rows(queue, k));
        let to = Target::new(dstudent.slice(own), k).plus(Plus::Itself);
        product(gpu, Products::F32, (count, k, negatives), a, b, to)?;
    }
    weighted(gpu, &losses, weight)
}

/// Lays `rows` of k on the queue's places from `next` on; after the last comes the first again.
pub fn enqueue(
    gpu: &Gpu,
    next: usize,
    length: usize,
    k: usize,
    rows: View<'_>,
    queue: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!(queue.len(), length * k, "the queue is (length, k)");
    let many = rows.len() / k;
    // a row whose place another takes later would come in any order
    let lost = many.saturating_sub(length);
    let rows = rows.slice(lost * k..many * k);
    let launch = Launch::each(rows.len(), 256);
    let next = ((next + lost) % length.max(1)) as i64;
    launch!(gpu, "loss_enqueue", launch; next, length as i64, k as i32, rows.len() as i64, rows, queue)
}
