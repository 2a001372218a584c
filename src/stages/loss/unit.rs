//! Rows of unit length, and the way back through their making.

use crate::kernels::Kernels;
use crate::tensor::{Batched, Device};

/// x / max(‖x‖, ε) for every row, with what the way back needs.
pub struct Unit<D: Device> {
    pub rows: Batched<D>,
    norms: Batched<D>,
}

/// Rows and their width.
fn size<D: Device>(x: &Batched<D>) -> (usize, usize) {
    let dim = x.dims.last().copied().unwrap_or(1).max(1);
    (x.dims.iter().product::<usize>() / dim, dim)
}

impl<D: Kernels> Unit<D> {
    pub fn of(device: &D, x: &Batched<D>, eps: f32) -> Result<Self, D::Err> {
        let (count, dim) = size(x);
        let mut rows = Batched::empty(device, x.dims.clone(), x.batch)?;
        let mut norms = Batched::empty(device, vec![count], None)?;
        device.l2(count, dim, eps, x.view(), rows.view_mut(), norms.view_mut())?;
        Ok(Unit { rows, norms })
    }

    /// The gradient in x, from that in the unit rows.
    pub fn back(&self, device: &D, gradient: &Batched<D>) -> Result<Batched<D>, D::Err> {
        let (count, dim) = size(&self.rows);
        let zeros = vec![0.0; count * dim];
        let mut dx = Batched::from_host(device, zeros, self.rows.dims.clone(), self.rows.batch)?;
        let (rows, norms) = (self.rows.view(), self.norms.view());
        device.l2_backward(count, dim, gradient.view(), rows, norms, dx.view_mut())?;
        Ok(dx)
    }
}
