//! Layer normalisation of typed tokens.

use dfdx::prelude::{Const, HasShape, PutTape, SplitTape, Tape, Tensor};

use super::{LAYER_NORM_EPSILON, take, with_gradients};
use crate::kernels::{Kernels, Rows};
use crate::nn::layers::LayerNorm;
use crate::tensor::Float;

/// (batch, tokens, W) to the same, each token normalised. PyTorch equivalent: `F.layer_norm(x, (W,), eps=1e-6)`.
pub fn layer_norm<const W: usize, D: Kernels, T: Tape<Float, D>>(
    x: Tensor<(usize, usize, Const<W>), Float, D, T>,
    norm: &LayerNorm<W, D>,
) -> Result<Tensor<(usize, usize, Const<W>), Float, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let rows = x.shape().0 * x.shape().1;
    let (mut y, mut mean, mut rstd) =
        (device.empty(*x.shape())?, device.empty((rows,))?, device.empty((rows,))?);
    let (gain, bias) = (D::view(&norm.gain), D::view(&norm.bias));
    let (y_out, mean_out, rstd_out) =
        (D::view_mut(&mut y).into(), D::view_mut(&mut mean), D::view_mut(&mut rstd));
    device.layer_norm(
        Rows::All(rows),
        W,
        LAYER_NORM_EPSILON,
        D::view(&x),
        gain,
        bias,
        y_out,
        mean_out,
        rstd_out,
    )?;
    if T::OWNS_TAPE {
        let (norm, y) = (norm.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            with_gradients!(&device, grads; dx = &x, dgain = &norm.gain, dbias = &norm.bias => {
                device.layer_norm_backward(
                    Rows::All(rows), W, D::buffer(&dy).into(), D::view(&x), D::view(&norm.gain), D::view(&mean), D::view(&rstd),
                    D::buffer_mut(&mut dx), D::buffer_mut(&mut dgain), D::buffer_mut(&mut dbias),
                )?;
            });
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}
