//! Tensors on the wires: row-major numbers with a shape known at run time.

use dfdx::prelude::Tensor;

use super::device::{Device, Float};

/// Numbers on a device with their dimensions and the axis that counts images, if one does.
#[derive(Clone, Debug)]
pub struct Batched<D: Device> {
    /// The numbers, row-major.
    pub flat: Tensor<(usize,), Float, D>,
    pub dims: Vec<usize>,
    /// The axis that counts images.
    pub batch: Option<usize>,
}

impl<D: Device> Batched<D> {
    /// Takes a host vector over to the device.
    pub fn from_host(
        device: &D,
        values: Vec<Float>,
        dims: Vec<usize>,
        batch: Option<usize>,
    ) -> Result<Self, D::Err> {
        let len = values.len();
        debug_assert_eq!(len, dims.iter().product::<usize>());
        Ok(Batched { flat: device.try_tensor_from_vec(values, (len,))?, dims, batch })
    }

    /// A tensor of these dimensions whose numbers are any: all are yet to be written.
    pub fn empty(device: &D, dims: Vec<usize>, batch: Option<usize>) -> Result<Self, D::Err> {
        Ok(Batched { flat: device.empty((dims.iter().product(),))?, dims, batch })
    }

    /// The numbers, readable.
    pub fn view(&self) -> D::View<'_> {
        D::view(&self.flat)
    }

    /// The numbers, writable.
    pub fn view_mut(&mut self) -> D::ViewMut<'_> {
        D::view_mut(&mut self.flat)
    }

    /// Copies the numbers to the host.
    pub fn to_host(&self) -> Result<Vec<Float>, D::Err> {
        self.flat.device().read(self.view())
    }
}
