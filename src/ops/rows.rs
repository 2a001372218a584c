//! Rows put together and picked out.

use dfdx::prelude::{Const, HasShape, Merge, PutTape, SplitTape, Tape, Tensor};

use super::take;
use crate::kernels::Kernels;
use crate::tensor::Float;

/// (batch, tokens, W) to (batch, W): each image's first token, CLS.
pub fn first_token<const W: usize, D: Kernels, T: Tape<Float, D>>(
    x: Tensor<(usize, usize, Const<W>), Float, D, T>,
) -> Result<Tensor<(usize, Const<W>), Float, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let (batch, tokens, _) = *x.shape();
    let mut y = device.empty((batch, Const))?;
    device.first_tokens(batch, tokens, 1, W, D::view(&x), D::view_mut(&mut y))?;
    if T::OWNS_TAPE {
        let (x, y) = (x.ghost(), y.ghost());
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            let dx = D::buffer_mut(grads.get_or_alloc_mut(&x)?);
            device.add_first_tokens(batch, tokens, 1, W, D::buffer(&dy), dx)
        });
    }
    Ok(y.put_tape(tape))
}

/// (images, tokens, width) in a flat tensor to the same without `count` of each image's tokens from `from` on; never traced.
pub fn without_tokens<D: Kernels>(
    x: Tensor<(usize,), Float, D>,
    (images, tokens, width): (usize, usize, usize),
    from: usize,
    count: usize,
) -> Result<Tensor<(usize,), Float, D>, D::Err> {
    if count == 0 {
        return Ok(x);
    }
    let device = x.device().clone();
    let mut y = device.empty((images * (tokens - count) * width,))?;
    device.without_tokens(images, tokens, from, count, width, D::view(&x), D::view_mut(&mut y))?;
    Ok(y)
}

/// (a, W) and (b, W) to (a + b, W), the rows of `top` first.
pub fn concat_rows<const W: usize, D: Kernels, T: Tape<Float, D> + Merge<T>>(
    top: Tensor<(usize, Const<W>), Float, D, T>,
    bottom: Tensor<(usize, Const<W>), Float, D, T>,
) -> Result<Tensor<(usize, Const<W>), Float, D, T>, D::Err> {
    let (top, tape) = top.split_tape();
    let (bottom, other) = bottom.split_tape();
    let mut tape = tape.merge(other);
    let device = top.device().clone();
    let (a, b) = (top.shape().0, bottom.shape().0);
    let mut y = device.empty((a + b, Const))?;
    device.copy_to(0, D::view(&top), D::view_mut(&mut y))?;
    device.copy_to(a * W, D::view(&bottom), D::view_mut(&mut y))?;
    if T::OWNS_TAPE {
        let (top, bottom, y) = (top.ghost(), bottom.ghost(), y.ghost());
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            let dtop = D::buffer_mut(grads.get_or_alloc_mut(&top)?);
            device.add_from(0, D::buffer(&dy), dtop)?;
            let dbottom = D::buffer_mut(grads.get_or_alloc_mut(&bottom)?);
            device.add_from(a * W, D::buffer(&dy), dbottom)
        });
    }
    Ok(y.put_tape(tape))
}
