//! DINO's loss and the targets it is taken against.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::optimizer::room::Room;
use super::view::{Kind, View, ViewMut};

mod distance;
mod info_nce;
mod koleo;
mod sinkhorn;
#[cfg(test)]
mod tests;

pub use distance::squared_distances;
pub use info_nce::{enqueue, info_nce};
pub use koleo::koleo;
pub use sinkhorn::sinkhorn;

/// Columns of a block that goes down them (`STRIP` in the sources).
const STRIP: usize = 128;

/// The threads of a block that has a row of k: eight numbers for each, or as often again as it takes.
pub(super) fn threads(k: usize) -> u32 {
    assert!(k <= 1 << 30, "a row of {k} numbers");
    k.div_ceil(8).next_multiple_of(32).clamp(32, 1024) as u32
}

/// targets = softmax((logits - center) / temperature) for each of `rows` rows of k, and each row's entropy in nats.
pub fn centered_softmax(
    gpu: &Gpu,
    rows: usize,
    k: usize,
    logits: View<'_>,
    center: Option<View<'_>>,
    temperature: f32,
    targets: ViewMut<'_>,
    entropy: ViewMut<'_>,
) -> Result<(), CudaError> {
    let lengths = [logits.len(), targets.len(), entropy.len()];
    assert_eq!(lengths, [rows * k, rows * k, rows], "logits, targets, entropy");
    assert!(center.is_none_or(|c| c.len() == k), "the centre has one value for each of {k} prototypes");
    let launch = Launch::blocks(rows, threads(k));
    launch!(gpu, "loss_targets", launch; k as i32, logits, center, 1.0 / temperature, targets, entropy)
}

/// y = logits - center, in each of `rows` rows of k.
pub fn centered(
    gpu: &Gpu,
    rows: usize,
    k: usize,
    logits: View<'_>,
    center: View<'_>,
    y: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([logits.len(), y.len(), center.len()], [rows * k, rows * k, k], "logits, y, centre");
    let threads = k.div_ceil(4).next_multiple_of(32).clamp(32, 256);
    let parts = k.div_ceil(4 * threads);
    let launch = Launch::blocks(rows * parts, threads as u32);
    launch!(gpu, "loss_centered", launch; k as i32, parts as i32, logits, center, y)
}

/// The sum over pairs (teacher view i, student view v ≠ i) and over rows of -Σ q · log softmax(s / temperature), times
/// `weight`, and its gradient. student (views, batch, k), targets (globals, batch, k); dstudent is overwritten.
pub fn cross_entropy(
    gpu: &Gpu,
    globals: usize,
    views: usize,
    batch: usize,
    k: usize,
    student: View<'_>,
    targets: View<'_>,
    temperature: f32,
    weight: f32,
    dstudent: ViewMut<'_>,
) -> Result<f64, CudaError> {
    assert_eq!(
        [student.len(), dstudent.len()],
        [views * batch * k; 2],
        "student logits are (views, batch, k)"
    );
    assert_eq!(targets.len(), globals * batch * k, "targets are (globals, batch, k)");
    let losses = Room::<f64>::unwritten(gpu, views * batch)?;
    let inverse = 1.0 / temperature;
    let (launch, scale) = (Launch::blocks(views * batch, threads(k)), weight * inverse);
    launch!(gpu, "loss_pairs", launch; globals as i32, batch as i32, k as i32, student, targets, inverse, scale,
        dstudent, losses)?;
    weighted(gpu, &losses, weight)
}

/// The sum of rows' losses in their order, times `weight`: the one wait of a loss.
fn weighted(gpu: &Gpu, losses: &Room<f64>, weight: f32) -> Result<f64, CudaError> {
    Ok(losses.read(gpu)?.iter().sum::<f64>() * f64::from(weight))
}

/// mean (k) of the rows of x.
pub fn column_mean(
    gpu: &Gpu,
    rows: usize,
    k: usize,
    x: View<'_>,
    mean: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([x.len(), mean.len()], [rows * k, k], "x is (rows, k), its mean (k)");
    let launch = Launch::blocks(k.div_ceil(STRIP), 256);
    launch!(gpu, "loss_column_mean", launch; rows as i32, k as i32, x, mean)
}

/// Entropy in nats of the mean of the targets' rows: near 0 when all choose one prototype.
pub fn entropy_of_mean(gpu: &Gpu, rows: usize, k: usize, targets: View<'_>) -> Result<f64, CudaError> {
    let mut mean = gpu.unwritten(Kind::F32, k)?;
    column_mean(gpu, rows, k, targets, mean.view_mut())?;
    let blocks = k.div_ceil(1024);
    let parts = Room::<f64>::unwritten(gpu, blocks)?;
    launch!(gpu, "loss_entropy", Launch::blocks(blocks, 256); k as i32, mean, parts)?;
    Ok(parts.read(gpu)?.iter().sum())
}
