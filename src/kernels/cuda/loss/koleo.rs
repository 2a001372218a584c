//! The Kozachenko-Leonenko entropy estimator as a loss: every row is pushed from its nearest neighbour.

use dfdx::prelude::CudaError;

use crate::kernels::Products;
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::launch::{Launch, launch};
use crate::kernels::cuda::matrix::{Factor, Target, product};
use crate::kernels::cuda::optimizer::room::Room;
use crate::kernels::cuda::view::{Kind, View, ViewMut};

/// Σ over groups of -mean log(‖x - nearest(x) + ε‖ + ε) over their rows, the nearest by inner product among rows of unit length; and
/// its gradient times `weight`, which does not flow through the choice. The first groups · rows · dim of x are looked at; dx is
/// overwritten, with zeros where nothing is looked at. `rows` is 2 or more.
pub fn koleo(
    gpu: &Gpu,
    groups: usize,
    rows: usize,
    dim: usize,
    x: View<'_>,
    weight: f32,
    mut dx: ViewMut<'_>,
) -> Result<f64, CudaError> {
    assert_eq!(x.len(), dx.len(), "x and dx");
    let (all, size) = (groups * rows, rows * dim);
    assert!(x.len() >= all * dim && rows > 1 && dim > 0, "two rows or more in each group");
    let mut products = gpu.unwritten(Kind::F32, all * rows)?;
    for group in 0..groups {
        let own = x.slice(group * size..(group + 1) * size);
        let (a, b) = (Factor::rows(own, dim), Factor::transposed(own, dim));
        let mut to = products.view_mut();
        let to = Target::new(to.slice(group * rows * rows..(group + 1) * rows * rows), rows);
        product(gpu, Products::F32, (rows, rows, dim), a, b, to)?;
    }
    let (nearest, slopes) = (Room::<i32>::unwritten(gpu, all)?, gpu.unwritten(Kind::F32, all)?);
    let losses = Room::<f64>::unwritten(gpu, all)?;
    let shape = (rows as i32, dim as i32);
    launch!(gpu, "loss_nearest", Launch::blocks(all, 128); shape.0, shape.1, weight, products, x, nearest, slopes, losses)?;
    launch!(gpu, "loss_spread", Launch::blocks(all, 256); shape.0, shape.1, x, nearest, slopes, dx)?;
    let len = dx.len();
    let others = dx.slice(all * dim..len);
    launch!(gpu, "loss_zeros", Launch::each(others.len(), 256); others, others.len() as i64)?;
    Ok(losses.read(gpu)?.iter().sum())
}
