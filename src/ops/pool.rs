//! Pooling of maps.

use dfdx::prelude::{Const, HasShape, PutTape, SplitTape, Tape, Tensor};

use super::conv_layer::{Extent, Maps};
use super::take;
use crate::kernels::Kernels;
use crate::tensor::Float;

/// Rows of `extent` to rows of `extent.strided(2)`. PyTorch equivalent, channels last: `F.max_pool2d(x, 3, stride=2, padding=1)`.
pub fn max_pool<D: Kernels, T: Tape<Float, D>>(x: Maps<D, T>, extent: Extent) -> Result<Maps<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let (Extent { images, height, width }, channels) = (extent, x.shape().1);
    let shape = (extent.strided(2).rows(), channels);
    let (mut y, mut places) = (device.empty(shape)?, device.empty(shape)?);
    let (y_out, places_out) = (D::view_mut(&mut y), D::view_mut(&mut places));
    device.max_pool(images, height, width, channels, D::view(&x), y_out, places_out)?;
    if T::OWNS_TAPE {
        let (x, y) = (x.ghost(), y.ghost());
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            let (dy, dx) = (D::buffer(&dy), D::buffer_mut(grads.get_or_alloc_mut(&x)?));
            device.max_pool_backward(images, height, width, channels, dy, D::view(&places), dx)
        });
    }
    Ok(y.put_tape(tape))
}

/// Maps of so many images to the means of their positions, (images, W). PyTorch equivalent: `x.mean((2, 3))`.
pub fn average_pool<const W: usize, D: Kernels, T: Tape<Float, D>>(
    x: Maps<D, T>,
    images: usize,
) -> Result<Tensor<(usize, Const<W>), Float, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let positions = x.shape().0 / images.max(1);
    let mut y = device.empty((images, Const::<W>))?;
    device.average_pool(images, positions, W, D::view(&x), D::view_mut(&mut y))?;
    if T::OWNS_TAPE {
        let (x, y) = (x.ghost(), y.ghost());
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            let dx = D::buffer_mut(grads.get_or_alloc_mut(&x)?);
            device.average_pool_backward(images, positions, W, D::buffer(&dy), dx)
        });
    }
    Ok(y.put_tape(tape))
}
