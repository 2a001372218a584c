//! Sinkhorn-Knopp: targets that use all prototypes alike.

use dfdx::prelude::CudaError;

use super::{STRIP, threads};
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::launch::{Launch, Pointer, launch};
use crate::kernels::cuda::optimizer::room::Room;
use crate::kernels::cuda::view::{Kind, View, ViewMut};

/// Sinkhorn-Knopp targets over all rows of a group at once: exp((t - max) / temperature), then alternately every prototype's total and
/// every row's total made equal; rows end with sum 1. `entropy` is each row's, in nats.
/// targets (groups, rows, k); logits may go on behind their first groups · rows · k.
pub fn sinkhorn(
    gpu: &Gpu,
    groups: usize,
    rows: usize,
    k: usize,
    iterations: usize,
    temperature: f32,
    logits: View<'_>,
    targets: ViewMut<'_>,
    entropy: ViewMut<'_>,
) -> Result<(), CudaError> {
    let all = groups * rows;
    assert_eq!([targets.len(), entropy.len()], [all * k, all], "targets, entropy");
    assert!(logits.len() >= targets.len(), "logits for each of the targets");
    let (many_rows, width, strips) = (rows as i32, k as i32, k.div_ceil(STRIP));
    let (inverse, by_row) = (1.0 / temperature, Launch::blocks(all, threads(k)));
    let (largest, tops) = (gpu.unwritten(Kind::F32, all)?, gpu.unwritten(Kind::F32, groups)?);
    launch!(gpu, "loss_row_largest", by_row; width, logits, largest)?;
    launch!(gpu, "loss_row_largest", Launch::blocks(groups, threads(rows)); many_rows, largest, tops)?;
    let row_factors = Room::<f64>::unwritten(gpu, all)?;
    let column_factors = Room::<f64>::unwritten(gpu, groups * k)?;
    let logarithms = Room::<f64>::unwritten(gpu, groups * k)?;
    // the first time down the columns makes the exponentials, even where nothing comes of the sums
    for iteration in 0..iterations.max(1) {
        let (from, factors) = match iteration {
            0 => (Some(logits), Pointer(0)),
            _ => (None, row_factors.place(0)),
        };
        launch!(gpu, "loss_sinkhorn_columns", Launch::blocks(groups * strips, 256); many_rows, width, strips as i32, from, tops,
            inverse, factors, targets, column_factors, logarithms)?;
        if iteration < iterations {
            launch!(gpu, "loss_sinkhorn_rows", by_row; many_rows, width, targets, column_factors, row_factors)?;
        }
    }
    let known = |room: &Room<f64>| if iterations > 0 { room.place(0) } else { Pointer(0) };
    let (row_factors, column_factors) = (known(&row_factors), known(&column_factors));
    launch!(gpu, "loss_sinkhorn_finish", by_row; many_rows, width, logits, tops, inverse, row_factors, column_factors, logarithms,
        targets, entropy)
}
