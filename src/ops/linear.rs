//! Linear layers and GELU on rows of features whose widths may be known at run time only.

use dfdx::prelude::{Dim, HasShape, PutTape, SplitTape, Tape, Tensor};

use super::{take, with_gradients};
use crate::kernels::{Kernels, Products};
use crate::tensor::{Buffer, Float};

type Rows<W, D, T = dfdx::prelude::NoneTape> = Tensor<(usize, W), Float, D, T>;

/// (rows, I) to (rows, O). PyTorch equivalent: `F.linear(x, weight, bias)`.
pub fn linear<I: Dim, O: Dim, D: Kernels, T: Tape<Float, D>>(
    x: Rows<I, D, T>,
    weight: &Tensor<(O, I), Float, D>,
    bias: &Tensor<(O,), Float, D>,
    products: Products,
) -> Result<Rows<O, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let (rows, inp, out) = (x.shape().0, x.shape().1.size(), weight.shape().0.size());
    let mut y = device.empty((rows, weight.shape().0))?;
    let (w, b) = (D::view(weight), Some(D::view(bias)));
    device.linear(products, rows, inp, out, D::view(&x).into(), w, b, D::view_mut(&mut y).into())?;
    if T::OWNS_TAPE {
        let (weight, bias, y) = (weight.clone(), bias.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            with_gradients!(&device, grads; dx = &x, dw = &weight, db = &bias => {
                let dy = D::buffer(&dy);
                linear_backward(&device, products, dy, &x, &weight, (&mut dx, &mut dw, &mut db))?;
            });
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// (rows, I) to gelu of (rows, O). PyTorch equivalent: `F.gelu(F.linear(x, weight, bias))`.
pub fn linear_gelu<I: Dim, O: Dim, D: Kernels, T: Tape<Float, D>>(
    x: Rows<I, D, T>,
    weight: &Tensor<(O, I), Float, D>,
    bias: &Tensor<(O,), Float, D>,
    products: Products,
) -> Result<Rows<O, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let (rows, inp, out) = (x.shape().0, x.shape().1.size(), weight.shape().0.size());
    let shape = (rows, weight.shape().0);
    let mut pre = if T::OWNS_TAPE { Some(device.empty(shape)?) } else { None };
    let mut y = device.empty(shape)?;
    let (w, b) = (D::view(weight), Some(D::view(bias)));
    let (pre_out, y_out) = (pre.as_mut().map(|pre| D::view_mut(pre).into()), D::view_mut(&mut y).into());
    device.linear_gelu(products, rows, inp, out, D::view(&x).into(), w, b, pre_out, y_out)?;
    if let Some(pre) = pre {
        let (weight, bias, y) = (weight.clone(), bias.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            let mut dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            device.gelu_backward(D::view(&pre).into(), D::buffer_mut(&mut dy))?;
            with_gradients!(&device, grads; dx = &x, dw = &weight, db = &bias => {
                let dy = D::buffer(&dy);
                linear_backward(&device, products, dy, &x, &weight, (&mut dx, &mut dw, &mut db))?;
            });
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

fn linear_backward<I: Dim, O: Dim, D: Kernels>(
    device: &D,
    products: Products,
    dy: D::View<'_>,
    x: &Rows<I, D>,
    weight: &Tensor<(O, I), Float, D>,
    (dx, dw, db): (&mut Buffer<D>, &mut Buffer<D>, &mut Buffer<D>),
) -> Result<(), D::Err> {
    let (rows, inp, out) = (x.shape().0, x.shape().1.size(), weight.shape().0.size());
    let dy = dy.into();
    device.linear_backward_weight(products, rows, inp, out, dy, D::view(x).into(), D::buffer_mut(dw))?;
    device.linear_backward_bias(rows, out, dy, D::buffer_mut(db))?;
    device.linear_backward_input_add(products, rows, inp, out, dy, D::view(weight), D::buffer_mut(dx))
}

/// What is above 0 of each number, and 0 of the others. PyTorch equivalent: `F.relu(x)`.
pub fn relu<W: Dim, D: Kernels, T: Tape<Float, D>>(x: Rows<W, D, T>) -> Result<Rows<W, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let mut y = device.empty(*x.shape())?;
    device.relu(D::view(&x), D::view_mut(&mut y))?;
    if T::OWNS_TAPE {
        let y_ghost = y.ghost();
        tape.add_backward_op(move |grads| {
            let mut dy = take(&device, grads.get_or_alloc_mut(&y_ghost)?)?;
            device.relu_backward(D::view(&x), D::buffer_mut(&mut dy))?;
            device.axpy(D::buffer_mut(grads.get_or_alloc_mut(&x)?), 1.0, D::buffer(&dy))
        });
    }
    Ok(y.put_tape(tape))
}

/// The exact (erf) GELU of each number. PyTorch equivalent: `F.gelu(x)`.
pub fn gelu<W: Dim, D: Kernels, T: Tape<Float, D>>(x: Rows<W, D, T>) -> Result<Rows<W, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let mut y = device.empty(*x.shape())?;
    device.gelu(D::view(&x).into(), D::view_mut(&mut y).into())?;
    if T::OWNS_TAPE {
        let y = y.ghost();
        tape.add_backward_op(move |grads| {
            let mut dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            device.gelu_backward(D::view(&x).into(), D::buffer_mut(&mut dy))?;
            device.axpy(D::buffer_mut(grads.get_or_alloc_mut(&x)?), 1.0, D::buffer(&dy))
        });
    }
    Ok(y.put_tape(tape))
}
