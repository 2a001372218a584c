//! The second half of a block as one operation: x + s · fc2(gelu(fc1(norm2(x)))).

use dfdx::prelude::{Const, HasShape, PutTape, SplitTape, Tape, Tensor};

use super::{LAYER_NORM_EPSILON, RowScale, take, with_gradients};
use crate::kernels::Kernels;
use crate::nn::layers::{LayerNorm, Mlp};
use crate::tensor::{Buffer, Float};

/// What the backward step needs: the input and the hidden layer before its GELU. The normalised input and the GELU's output
/// are computed again: together they would be five widths a token to keep against one pass each to redo.
struct Kept<const W: usize, D: Kernels> {
    x: Tensor<(usize, usize, Const<W>), Float, D>,
    pre: Tensor<(usize,), Float, D>,
    scale: Option<RowScale<D>>,
    norm: LayerNorm<W, D>,
    mlp: Mlp<W, D>,
}

/// (batch, tokens, W) to the same. `scale` holds one number an image (drop path); none is 1.
pub fn mlp_residual<const W: usize, D: Kernels, T: Tape<Float, D>>(
    x: Tensor<(usize, usize, Const<W>), Float, D, T>,
    norm: &LayerNorm<W, D>,
    mlp: &Mlp<W, D>,
    scale: Option<&RowScale<D>>,
) -> Result<Tensor<(usize, usize, Const<W>), Float, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let tokens = x.shape().1;
    let rows = x.shape().0 * tokens;
    let h = normalized(&device, &x, norm)?.0;
    let (mut pre, mut act) = (device.empty((rows * 4 * W,))?, device.empty((rows * 4 * W,))?);
    let fc1_bias = Some(D::view(&mlp.fc1_bias));
    let (pre_out, act_out) = (D::view_mut(&mut pre), D::view_mut(&mut act));
    device.linear_gelu(rows, W, 4 * W, D::view(&h), D::view(&mlp.fc1), fc1_bias, pre_out, act_out)?;
    drop(h);
    let mut y = device.empty(*x.shape())?;
    let (fc2_bias, row_scale) = (Some(D::view(&mlp.fc2_bias)), scale.map(D::view));
    let (act, fc2, residual) = (D::view(&act), D::view(&mlp.fc2), D::view(&x));
    device.linear_residual(
        rows,
        4 * W,
        W,
        act,
        fc2,
        fc2_bias,
        row_scale,
        tokens,
        residual,
        D::view_mut(&mut y),
    )?;
    if T::OWNS_TAPE {
        let kept = Kept { x, pre, scale: scale.cloned(), norm: norm.clone(), mlp: mlp.clone() };
        let y = y.ghost();
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            backward(&device, grads, kept, dy)
        });
    }
    Ok(y.put_tape(tape))
}

type Normalized<const W: usize, D> =
    (Tensor<(usize, usize, Const<W>), Float, D>, Tensor<(usize,), Float, D>, Tensor<(usize,), Float, D>);

/// norm(x) with the means and the reciprocal deviations of its rows.
pub(super) fn normalized<const W: usize, D: Kernels>(
    device: &D,
    x: &Tensor<(usize, usize, Const<W>), Float, D>,
    norm: &LayerNorm<W, D>,
) -> Result<Normalized<W, D>, D::Err> {
    let rows = x.shape().0 * x.shape().1;
    let (mut h, mut mean, mut rstd) =
        (device.empty(*x.shape())?, device.empty((rows,))?, device.empty((rows,))?);
    let (gain, bias) = (D::view(&norm.gain), D::view(&norm.bias));
    let (h_out, mean_out, rstd_out) = (D::view_mut(&mut h), D::view_mut(&mut mean), D::view_mut(&mut rstd));
    device.layer_norm(rows, W, LAYER_NORM_EPSILON, D::view(x), gain, bias, h_out, mean_out, rstd_out)?;
    Ok((h, mean, rstd))
}

fn backward<const W: usize, D: Kernels>(
    device: &D,
    grads: &mut dfdx::prelude::Gradients<Float, D>,
    kept: Kept<W, D>,
    dy: Buffer<D>,
) -> Result<(), D::Err> {
    let Kept { x, pre, scale, norm, mlp } = kept;
    let (batch, tokens, _) = *x.shape();
    let rows = batch * tokens;
    let scaled = scaled_gradient(device, &dy, scale.as_ref(), tokens, batch, W)?;
    let branch = scaled.as_ref().unwrap_or(&dy);
    // the hidden layer's gradient, through fc2 and the GELU
    let mut act = device.empty((rows * 4 * W,))?;
    device.gelu(D::view(&pre), D::view_mut(&mut act))?;
    with_gradients!(device, grads; dw = &mlp.fc2, db = &mlp.fc2_bias => {
        device.linear_backward_weight(rows, 4 * W, W, D::buffer(branch), D::view(&act), D::buffer_mut(&mut dw))?;
        device.linear_backward_bias(rows, W, D::buffer(branch), D::buffer_mut(&mut db))?;
    });
    let mut dpre = act; // its numbers are used up: the buffer serves again
    device.linear_backward_input(
        rows,
        4 * W,
        W,
        D::buffer(branch),
        D::view(&mlp.fc2),
        D::view_mut(&mut dpre),
        false,
    )?;
    device.gelu_backward(D::view(&pre), D::view_mut(&mut dpre))?;
    drop((pre, scaled));
    // through fc1
    let (h, mean, rstd) = normalized(device, &x, &norm)?;
    with_gradients!(device, grads; dw = &mlp.fc1, db = &mlp.fc1_bias => {
        device.linear_backward_weight(rows, W, 4 * W, D::view(&dpre), D::view(&h), D::buffer_mut(&mut dw))?;
        device.linear_backward_bias(rows, 4 * W, D::view(&dpre), D::buffer_mut(&mut db))?;
    });
    let mut dh = h;
    device.linear_backward_input(
        rows,
        W,
        4 * W,
        D::view(&dpre),
        D::view(&mlp.fc1),
        D::view_mut(&mut dh),
        false,
    )?;
    drop(dpre);
    // through the norm, beside the residual path
    with_gradients!(device, grads; dx = &x, dgain = &norm.gain, dbias = &norm.bias => {
        device.axpy(D::buffer_mut(&mut dx), 1.0, D::buffer(&dy))?;
        device.layer_norm_backward(
            rows, W, D::view(&dh), D::view(&x), D::view(&norm.gain), D::view(&mean), D::view(&rstd),
            D::buffer_mut(&mut dx), D::buffer_mut(&mut dgain), D::buffer_mut(&mut dbias),
        )?;
    });
    Ok(())
}

/// s · dy, or nothing where no image is scaled.
pub(super) fn scaled_gradient<D: Kernels>(
    device: &D,
    dy: &Buffer<D>,
    scale: Option<&RowScale<D>>,
    rows_per_scale: usize,
    batch: usize,
    width: usize,
) -> Result<Option<Buffer<D>>, D::Err> {
    let Some(scale) = scale else { return Ok(None) };
    let mut scaled = device.zeroed(batch * rows_per_scale * width)?;
    device.scale_rows(rows_per_scale, width, D::view(scale), D::buffer(dy), D::buffer_mut(&mut scaled))?;
    Ok(Some(scaled))
}
