//! The second half of a block: x + s · fc2(gelu(fc1(norm2(x)))).

use dfdx::prelude::Gradients;

use super::survivors::{branch_gradient, rows, scale};
use super::{LAYER_NORM_EPSILON, Stream, Survivors, with_gradients};
use crate::kernels::{Kernels, Products, Rows};
use crate::nn::layers::{LayerNorm, Mlp};
use crate::tensor::{Buffer, Float};

/// What the way back needs: the branch's input and the hidden layer before its GELU. The normalised input and the GELU's
/// output are computed again: together they would be five widths a token to keep against one pass each to redo.
pub(super) struct Kept<const W: usize, D: Kernels> {
    pub x: Stream<W, D>,
    /// None where it is computed again too.
    pub pre: Option<D::Activations>,
    pub survivors: Option<Survivors>,
    pub products: Products,
    pub norm: LayerNorm<W, D>,
    pub mlp: Mlp<W, D>,
}

/// How much of it is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeps {
    /// There is no way back.
    Nothing,
    /// All but the hidden layer.
    Input,
    Hidden,
}

impl<const W: usize, D: Kernels> Kept<W, D> {
    /// The gradient of x, from that of the half's output: what comes through the branch is added to what came around it.
    pub fn back(
        self,
        device: &D,
        grads: &mut Gradients<Float, D>,
        mut gradient: Buffer<D>,
    ) -> Result<Buffer<D>, D::Err> {
        let end = backward(device, grads, self, &gradient)?;
        end.add_to(device, grads, &mut gradient)?;
        Ok(gradient)
    }
}

/// (images, tokens, W) to the same. The branch works on the `survivors` alone, where some are dropped.
pub(super) fn forward<const W: usize, D: Kernels>(
    device: &D,
    x: &Stream<W, D>,
    norm: &LayerNorm<W, D>,
    mlp: &Mlp<W, D>,
    survivors: Option<&Survivors>,
    products: Products,
    keeps: Keeps,
) -> Result<(Stream<W, D>, Option<Kept<W, D>>), D::Err> {
    let rows = rows(survivors, x.images(), x.tokens());
    let h = normalized(device, x, rows, norm, products)?.numbers;
    let len = rows.len() * 4 * W;
    // what comes before the GELU is for the way back alone
    let mut pre = if keeps == Keeps::Hidden { Some(device.activations(products, len)?) } else { None };
    let mut act = device.activations(products, len)?;
    let (fc1, fc1_bias) = (D::view(&mlp.fc1), Some(D::view(&mlp.fc1_bias)));
    let (pre_out, act_out) = (pre.as_mut().map(D::kept_mut), D::kept_mut(&mut act));
    device.linear_gelu(products, rows.len(), W, 4 * W, D::kept(&h), fc1, fc1_bias, pre_out, act_out)?;
    drop(h);
    let (fc2, fc2_bias, scale) = (D::view(&mlp.fc2), Some(D::view(&mlp.fc2_bias)), scale(survivors));
    let y = Stream::written(device, x.images(), x.tokens(), |y| {
        let (act, residual, to) = (D::kept(&act), x.view(), D::wide_mut(y));
        device.linear_residual(products, rows, 4 * W, W, scale, act, fc2, fc2_bias, residual, to)?;
        device.copy_others(rows, W, residual, D::wide_mut(y))
    })?;
    let kept = (keeps != Keeps::Nothing).then(|| {
        let (x, norm, mlp, survivors) = (x.clone(), norm.clone(), mlp.clone(), survivors.cloned());
        Kept { x, pre, survivors, products, norm, mlp }
    });
    Ok((y, kept))
}

/// A normalised input with the means and the reciprocal deviations of its rows.
pub(super) struct Normalized<D: Kernels> {
    /// In the precision of the products that it goes into.
    pub numbers: D::Activations,
    pub mean: D::Activations,
    pub rstd: D::Activations,
}

/// norm(x) of these rows.
pub(super) fn normalized<const W: usize, D: Kernels>(
    device: &D,
    x: &Stream<W, D>,
    rows: Rows<'_>,
    norm: &LayerNorm<W, D>,
    products: Products,
) -> Result<Normalized<D>, D::Err> {
    let one_each = || device.activations(Products::F32, rows.len());
    let (mut numbers, mut mean, mut rstd) =
        (device.activations(products, rows.len() * W)?, one_each()?, one_each()?);
    let (gain, bias) = (D::view(&norm.gain), D::view(&norm.bias));
    let (to, mean_out, rstd_out) =
        (D::kept_mut(&mut numbers), D::wide_mut(&mut mean), D::wide_mut(&mut rstd));
    device.layer_norm(rows, W, LAYER_NORM_EPSILON, x.view(), gain, bias, to, mean_out, rstd_out)?;
    Ok(Normalized { numbers, mean, rstd })
}

/// The hidden layer before its GELU, of these rows: by the way it was made first, so that it is the same bit for bit. What comes
/// behind the GELU goes to `room`.
fn hidden<const W: usize, D: Kernels>(
    device: &D,
    x: &Stream<W, D>,
    rows: Rows<'_>,
    norm: &LayerNorm<W, D>,
    mlp: &Mlp<W, D>,
    products: Products,
    room: &mut D::Activations,
) -> Result<D::Activations, D::Err> {
    let h = normalized(device, x, rows, norm, products)?.numbers;
    let mut pre = device.activations(products, rows.len() * 4 * W)?;
    let (fc1, fc1_bias, pre_out) = (D::view(&mlp.fc1), Some(D::view(&mlp.fc1_bias)), D::kept_mut(&mut pre));
    let act_out = D::kept_mut(room);
    device.linear_gelu(products, rows.len(), W, 4 * W, D::kept(&h), fc1, fc1_bias, Some(pre_out), act_out)?;
    Ok(pre)
}

fn backward<const W: usize, D: Kernels>(
    device: &D,
    grads: &mut Gradients<Float, D>,
    kept: Kept<W, D>,
    dy: &Buffer<D>,
) -> Result<NormBackward<W, D>, D::Err> {
    let Kept { x, pre, survivors, products, norm, mlp } = kept;
    let (images, tokens) = (x.images(), x.tokens());
    let branch_rows = rows(survivors.as_ref(), images, tokens);
    let rows = branch_rows.len();
    let scaled;
    with_gradients!(device, grads; db = &mlp.fc2_bias => {
        scaled = branch_gradient(device, products, survivors.as_ref(), tokens, W, dy, &mut db)?;
    });
    let branch = scaled.as_ref().map_or(D::buffer(dy).into(), D::kept);
    let mut dpre = device.activations(products, rows * 4 * W)?;
    let mut hidden = match pre {
        Some(pre) => pre,
        None => hidden(device, &x, branch_rows, &norm, &mlp, products, &mut dpre)?,
    };
    // the hidden layer's gradient, through fc2 and the GELU, whose output takes its input's place
    with_gradients!(device, grads; db = &mlp.fc1_bias => {
        let (fc2, hidden, dpre) = (D::view(&mlp.fc2), D::kept_mut(&mut hidden), D::kept_mut(&mut dpre));
        device.linear_backward_gelu(products, rows, 4 * W, W, branch, fc2, hidden, dpre, D::buffer_mut(&mut db))?;
    });
    with_gradients!(device, grads; dw = &mlp.fc2 => {
        let act = D::kept(&hidden);
        device.linear_backward_weight(products, rows, 4 * W, W, branch, act, D::buffer_mut(&mut dw))?;
    });
    drop((hidden, scaled));
    // through fc1
    let Normalized { numbers: h, mean, rstd } = normalized(device, &x, branch_rows, &norm, products)?;
    with_gradients!(device, grads; dw = &mlp.fc1 => {
        let (dpre, h) = (D::kept(&dpre), D::kept(&h));
        device.linear_backward_weight(products, rows, W, 4 * W, dpre, h, D::buffer_mut(&mut dw))?;
    });
    let mut dh = h;
    let (fc1, dh_out) = (D::view(&mlp.fc1), D::kept_mut(&mut dh));
    device.linear_backward_input(products, rows, W, 4 * W, D::kept(&dpre), fc1, dh_out)?;
    drop(dpre);
    Ok(NormBackward { norm, x, dh, mean, rstd, survivors })
}

/// The last step back through a half of a block: the norm of the branch's input.
pub(super) struct NormBackward<const W: usize, D: Kernels> {
    pub norm: LayerNorm<W, D>,
    pub x: Stream<W, D>,
    pub dh: D::Activations,
    pub mean: D::Activations,
    pub rstd: D::Activations,
    pub survivors: Option<Survivors>,
}

impl<const W: usize, D: Kernels> NormBackward<W, D> {
    /// Adds what comes back through the branch to `dx` (images, tokens, W), which holds what came around it.
    pub fn add_to(
        self,
        device: &D,
        grads: &mut Gradients<Float, D>,
        dx: &mut Buffer<D>,
    ) -> Result<(), D::Err> {
        let NormBackward { norm, x, dh, mean, rstd, survivors } = self;
        let rows = rows(survivors.as_ref(), x.images(), x.tokens());
        with_gradients!(device, grads; dgain = &norm.gain, dbias = &norm.bias => {
            let (mean, rstd, to) = (D::wide(&mean), D::wide(&rstd), D::buffer_mut(dx));
            let (gain, dgain, dbias) = (D::view(&norm.gain), D::buffer_mut(&mut dgain), D::buffer_mut(&mut dbias));
            device.layer_norm_backward(rows, W, D::kept(&dh), x.view(), gain, mean, rstd, to, dgain, dbias)?;
        });
        Ok(())
    }
}
