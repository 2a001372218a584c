//! The second half of a block as one operation: x + s · fc2(gelu(fc1(norm2(x)))).

use dfdx::prelude::{Const, HasShape, PutTape, SplitTape, Tape, Tensor};

use super::survivors::{branch_gradient, rows, scale};
use super::{LAYER_NORM_EPSILON, Survivors, take, with_gradients};
use crate::kernels::{Kernels, Products, Rows};
use crate::nn::layers::{LayerNorm, Mlp};
use crate::tensor::{Buffer, Float};

type Tokens<const W: usize, D, T = dfdx::prelude::NoneTape> = Tensor<(usize, usize, Const<W>), Float, D, T>;

/// What the backward step needs: the branch's input and the hidden layer before its GELU. The normalised input and the GELU's
/// output are computed again: together they would be five widths a token to keep against one pass each to redo.
pub(super) struct Kept<const W: usize, D: Kernels> {
    pub x: Tokens<W, D>,
    /// None where it is computed again too.
    pub pre: Option<D::Activations>,
    pub survivors: Option<Survivors>,
    pub products: Products,
    pub norm: LayerNorm<W, D>,
    pub mlp: Mlp<W, D>,
}

impl<const W: usize, D: Kernels> Kept<W, D> {
    /// The backward step, from the gradient of the half's output.
    pub fn back(self, grads: &mut dfdx::prelude::Gradients<Float, D>, dy: &Buffer<D>) -> Result<(), D::Err> {
        let (device, ghost) = (self.x.device().clone(), self.x.ghost());
        let end = backward(&device, grads, self, dy)?;
        with_gradients!(&device, grads; dx = &ghost, dgain = &end.norm.gain, dbias = &end.norm.bias => {
            end.run(&device, Some(dy), &mut dx, &mut dgain, &mut dbias)?;
        });
        Ok(())
    }
}

/// (batch, tokens, W) to the same. The branch works on the `survivors` alone, where some are dropped. `keeps` says whether the hidden
/// layer waits for the backward pass or is computed again there.
pub fn mlp_residual<const W: usize, D: Kernels, T: Tape<Float, D>>(
    x: Tokens<W, D, T>,
    norm: &LayerNorm<W, D>,
    mlp: &Mlp<W, D>,
    survivors: Option<&Survivors>,
    products: Products,
    keeps: bool,
) -> Result<Tokens<W, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let rows = rows(survivors, x.shape().0, x.shape().1);
    let h = normalized(&device, &x, rows, norm, products)?.0;
    let len = rows.len() * 4 * W;
    let (mut pre, mut act) = (device.activations(products, len)?, device.activations(products, len)?);
    let (fc1, fc1_bias) = (D::view(&mlp.fc1), Some(D::view(&mlp.fc1_bias)));
    let (pre_out, act_out) = (D::kept_mut(&mut pre), D::kept_mut(&mut act));
    device.linear_gelu(products, rows.len(), W, 4 * W, D::kept(&h), fc1, fc1_bias, pre_out, act_out)?;
    drop(h);
    let (fc2, fc2_bias, scale) = (D::view(&mlp.fc2), Some(D::view(&mlp.fc2_bias)), scale(survivors));
    let mut y = device.empty(*x.shape())?;
    let (act, residual, to) = (D::kept(&act), D::view(&x), D::view_mut(&mut y));
    device.linear_residual(products, rows, 4 * W, W, scale, act, fc2, fc2_bias, residual, to)?;
    device.copy_others(rows, W, residual, D::view_mut(&mut y))?;
    if T::OWNS_TAPE {
        let (norm, mlp, survivors) = (norm.clone(), mlp.clone(), survivors.cloned());
        let kept = Kept { x, pre: keeps.then_some(pre), survivors, products, norm, mlp };
        let y = y.ghost();
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            kept.back(grads, &dy)
        });
    }
    Ok(y.put_tape(tape))
}

/// A normalised input with the means and the reciprocal deviations of its rows.
type Normalized<D> =
    (<D as crate::tensor::Device>::Activations, Tensor<(usize,), Float, D>, Tensor<(usize,), Float, D>);

/// norm(x) of these rows, stored in the precision of the products that it goes into.
pub(super) fn normalized<const W: usize, D: Kernels>(
    device: &D,
    x: &Tokens<W, D>,
    rows: Rows<'_>,
    norm: &LayerNorm<W, D>,
    products: Products,
) -> Result<Normalized<D>, D::Err> {
    let mut h = device.activations(products, rows.len() * W)?;
    let (mut mean, mut rstd) = (device.empty((rows.len(),))?, device.empty((rows.len(),))?);
    let (gain, bias) = (D::view(&norm.gain), D::view(&norm.bias));
    let (h_out, mean_out, rstd_out) = (D::kept_mut(&mut h), D::view_mut(&mut mean), D::view_mut(&mut rstd));
    device.layer_norm(rows, W, LAYER_NORM_EPSILON, D::view(x), gain, bias, h_out, mean_out, rstd_out)?;
    Ok((h, mean, rstd))
}

/// The hidden layer before its GELU, of these rows.
fn hidden<const W: usize, D: Kernels>(
    device: &D,
    x: &Tokens<W, D>,
    rows: Rows<'_>,
    norm: &LayerNorm<W, D>,
    mlp: &Mlp<W, D>,
    products: Products,
) -> Result<D::Activations, D::Err> {
    let h = normalized(device, x, rows, norm, products)?.0;
    let mut pre = device.activations(products, rows.len() * 4 * W)?;
    let (fc1, fc1_bias, pre_out) = (D::view(&mlp.fc1), Some(D::view(&mlp.fc1_bias)), D::kept_mut(&mut pre));
    device.linear(products, rows.len(), W, 4 * W, D::kept(&h), fc1, fc1_bias, pre_out)?;
    Ok(pre)
}

fn backward<const W: usize, D: Kernels>(
    device: &D,
    grads: &mut dfdx::prelude::Gradients<Float, D>,
    kept: Kept<W, D>,
    dy: &Buffer<D>,
) -> Result<NormBackward<W, D>, D::Err> {
    let Kept { x, pre, survivors, products, norm, mlp } = kept;
    let (images, tokens, _) = *x.shape();
    let branch_rows = rows(survivors.as_ref(), images, tokens);
    let rows = branch_rows.len();
    let scaled = branch_gradient(device, products, survivors.as_ref(), tokens, W, dy)?;
    let branch = scaled.as_ref().map_or(D::buffer(dy).into(), D::kept);
    let pre = match pre {
        Some(pre) => pre,
        None => hidden(device, &x, branch_rows, &norm, &mlp, products)?,
    };
    // the hidden layer's gradient, through fc2 and the GELU
    let mut act = device.activations(products, rows * 4 * W)?;
    device.gelu(D::kept(&pre), D::kept_mut(&mut act))?;
    with_gradients!(device, grads; dw = &mlp.fc2, db = &mlp.fc2_bias => {
        let act = D::kept(&act);
        device.linear_backward_weight(products, rows, 4 * W, W, branch, act, D::buffer_mut(&mut dw))?;
        device.linear_backward_bias(rows, W, branch, D::buffer_mut(&mut db))?;
    });
    let mut dpre = act; // its numbers are used up: the buffer serves again
    let (fc2, dpre_out) = (D::view(&mlp.fc2), D::kept_mut(&mut dpre));
    device.linear_backward_gelu(products, rows, 4 * W, W, branch, fc2, D::kept(&pre), dpre_out)?;
    drop((pre, scaled));
    // through fc1
    let (h, mean, rstd) = normalized(device, &x, branch_rows, &norm, products)?;
    with_gradients!(device, grads; dw = &mlp.fc1, db = &mlp.fc1_bias => {
        let (dpre, h) = (D::kept(&dpre), D::kept(&h));
        device.linear_backward_weight(products, rows, W, 4 * W, dpre, h, D::buffer_mut(&mut dw))?;
        device.linear_backward_bias(rows, 4 * W, dpre, D::buffer_mut(&mut db))?;
    });
    let mut dh = h;
    let (fc1, dh_out) = (D::view(&mlp.fc1), D::kept_mut(&mut dh));
    device.linear_backward_input(products, rows, W, 4 * W, D::kept(&dpre), fc1, dh_out)?;
    drop(dpre);
    Ok(NormBackward { norm, x, dh, mean, rstd, survivors })
}

/// The last step back through a half of a block: the norm of the branch's input, beside the residual path.
pub(super) struct NormBackward<const W: usize, D: Kernels> {
    pub norm: LayerNorm<W, D>,
    pub x: Tokens<W, D>,
    pub dh: D::Activations,
    pub mean: Tensor<(usize,), Float, D>,
    pub rstd: Tensor<(usize,), Float, D>,
    pub survivors: Option<Survivors>,
}

impl<const W: usize, D: Kernels> NormBackward<W, D> {
    /// Adds to dx, of the whole batch, what comes back through the branch, and what came around it.
    pub fn run(
        &self,
        device: &D,
        around: Option<&Buffer<D>>,
        dx: &mut Buffer<D>,
        dgain: &mut Buffer<D>,
        dbias: &mut Buffer<D>,
    ) -> Result<(), D::Err> {
        let (images, tokens, _) = *self.x.shape();
        let (rows, around) = (rows(self.survivors.as_ref(), images, tokens), around.map(D::buffer));
        let (dh, x, gain) = (D::kept(&self.dh), D::view(&self.x), D::view(&self.norm.gain));
        let (mean, rstd, to) = (D::view(&self.mean), D::view(&self.rstd), D::buffer_mut(dx));
        let (dgain, dbias) = (D::buffer_mut(dgain), D::buffer_mut(dbias));
        device.layer_norm_backward(rows, W, dh, x, gain, mean, rstd, around, to, dgain, dbias)?;
        match around {
            Some(around) => device.add_others(rows, W, around, D::buffer_mut(dx)),
            None => Ok(()),
        }
    }
}
