//! Convolutions on maps, with weights in PyTorch's layout.

use dfdx::prelude::{HasShape, PutTape, SplitTape, Tape, Tensor};

use super::conv_layer::{Extent, Maps};
use super::{take, with_gradients};
use crate::graph::resnet::Window;
use crate::kernels::{ConvDims, Kernels, Products};
use crate::tensor::Float;

/// (out, inp · side²), each output's weights in the order of PyTorch's (inp, side, side).
pub type Weights<D> = Tensor<(usize, usize), Float, D>;

/// Rows of `extent` to rows of `extent.strided(window.stride)`. PyTorch equivalent, channels last:
/// `F.conv2d(x, w, stride=stride, padding=side // 2)`.
/// Nobody asks for the gradient of pixels: `pixels` says that x is no layer's output.
pub fn conv<D: Kernels, T: Tape<Float, D>>(
    x: Maps<D, T>,
    extent: Extent,
    weight: &Weights<D>,
    Window { side, stride }: Window,
    pixels: bool,
    products: Products,
) -> Result<Maps<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let (Extent { images: batch, height, width }, inp, out) = (extent, x.shape().1, weight.shape().0);
    let dims = ConvDims { batch, height, width, inp, out, side, stride };
    let mut y = device.empty((extent.strided(stride).rows(), out))?;
    let turned = channels_innermost(&device, weight, dims)?;
    device.conv(products, dims, D::view(&x), D::view(&turned), D::view_mut(&mut y))?;
    if T::OWNS_TAPE {
        let (weight, y) = (weight.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            let dy = D::buffer(&dy);
            with_gradients!(&device, grads; dw = &weight => {
                add_weight_gradient(&device, products, dims, dy, &x, D::buffer_mut(&mut dw))?;
            });
            if !pixels {
                let turned = channels_innermost(&device, &weight, dims)?;
                with_gradients!(&device, grads; dx = &x => {
                    device.conv_backward_input(products, dims, dy, D::view(&turned), D::buffer_mut(&mut dx))?;
                });
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// The weights as the kernels take them, (out, side, side, inp).
fn channels_innermost<D: Kernels>(
    device: &D,
    weight: &Weights<D>,
    dims: ConvDims,
) -> Result<Weights<D>, D::Err> {
    let ConvDims { inp, out, side, .. } = dims;
    if side == 1 {
        return Ok(weight.clone());
    }
    let mut turned = device.empty(*weight.shape())?;
    device.channels_last(out, inp, side * side, D::view(weight), D::view_mut(&mut turned))?;
    Ok(turned)
}

/// dw += the gradient of the weights, in PyTorch's layout.
fn add_weight_gradient<D: Kernels>(
    device: &D,
    products: Products,
    dims: ConvDims,
    dy: D::View<'_>,
    x: &Maps<D>,
    dw: D::ViewMut<'_>,
) -> Result<(), D::Err> {
    let ConvDims { inp, out, side, .. } = dims;
    if side == 1 {
        return device.conv_backward_weight(products, dims, dy, D::view(x), dw);
    }
    let mut turned = device.zeroed(out * inp * side * side)?;
    device.conv_backward_weight(products, dims, dy, D::view(x), D::buffer_mut(&mut turned))?;
    let mut back = device.empty((out, inp * side * side))?;
    device.channels_last(out, side * side, inp, D::buffer(&turned), D::view_mut(&mut back))?;
    device.axpy(dw, 1.0, D::view(&back))
}
