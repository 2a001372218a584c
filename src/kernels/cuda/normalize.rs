//! Rows scaled to unit length.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::view::{View, ViewMut};

/// Rows longer than this are a block's work each, others a warp's.
const WARP_DIM: usize = 1024;

/// y = x / max(‖x‖, eps) for each row. `norms` (rows) keeps the divisor for backward, negative where it was eps.
pub fn l2_forward(
    gpu: &Gpu,
    rows: usize,
    dim: usize,
    eps: f32,
    x: View<'_>,
    y: ViewMut<'_>,
    norms: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!(
        [x.len(), y.len(), norms.len()],
        [rows * dim, rows * dim, rows],
        "x, y, norms of a normalisation"
    );
    let (kernel, launch) = if dim > WARP_DIM {
        ("normalize_l2_block", Launch::blocks(rows, 256))
    } else {
        ("normalize_l2_warp", Launch::warps(rows, 128))
    };
    launch!(gpu, kernel, launch; rows as i64, dim as i32, eps, x, y, norms)
}

/// dx += the gradient of [`l2_forward`].
pub fn l2_backward(
    gpu: &Gpu,
    rows: usize,
    dim: usize,
    dy: View<'_>,
    y: View<'_>,
    norms: View<'_>,
    dx: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!([dy.len(), y.len(), dx.len()], [rows * dim; 3], "dy, y, dx of a normalisation");
    assert_eq!(norms.len(), rows, "norms of a normalisation");
    let (kernel, launch) = if dim > WARP_DIM {
        ("normalize_l2_backward_block", Launch::blocks(rows, 256))
    } else {
        ("normalize_l2_backward_warp", Launch::warps(rows, 128))
    };
    launch!(gpu, kernel, launch; rows as i64, dim as i32, dy, y, norms, dx)
}

#[cfg(test)]
mod tests {
    use super::super::probe::{gpu, lent, near, poisoned, taken};
    use super::*;
    use crate::kernels::Products;
    use crate::kernels::probe::{poison, values};
    use crate::kernels::scalar::normalize as scalar;

    /// `skew`: how many numbers before its boundary of four each matrix starts.
    fn check(gpu: &Gpu, rows: usize, dim: usize, skew: usize) {
        let (n, eps) = (rows * dim, 1e-2);
        let (mut x, dy, before) = (values("x", skew + n), values("dy", skew + n), values("dx", n));
        // a row of zeros meets the clamp
        if rows > 1 {
            x[skew..skew + dim].fill(0.0);
        }
        let (mut y, mut norms) = (poison(n), poison(rows));
        scalar::l2_forward(rows, dim, eps, &x[skew..], &mut y, &mut norms);
        let (mut to_y, mut to_norms) = (poisoned(gpu, Products::F32, n), poisoned(gpu, Products::F32, rows));
        let from = lent(gpu, &x);
        let from = from.view().slice(skew..skew + n);
        l2_forward(gpu, rows, dim, eps, from, to_y.view_mut(), to_norms.view_mut()).unwrap();
        near("y", 2e-6, &taken(gpu, &to_y), &y);
        near("norms", 1e-6, &taken(gpu, &to_norms), &norms);

        let mut dx = before.clone();
        scalar::l2_backward(rows, dim, &dy[skew..], &y, &norms, &mut dx);
        let (from, mut to) = (lent(gpu, &dy), lent(gpu, &before));
        let (y, norms) = (lent(gpu, &y), lent(gpu, &norms));
        let from = from.view().slice(skew..skew + n);
        l2_backward(gpu, rows, dim, from, y.view(), norms.view(), to.view_mut()).unwrap();
        near("dx", 2e-6, &taken(gpu, &to), &dx);
    }

    #[test]
    fn normalisation_agrees_with_its_twin() {
        let Some(gpu) = gpu() else { return };
        for (rows, dim) in [(1, 5), (3, 64), (37, 256), (700, 31), (5, 1024), (3, 1031), (2, 2048)] {
            [0, 1].into_iter().for_each(|skew| check(gpu, rows, dim, skew));
        }
    }
}
