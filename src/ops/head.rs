//! What DINO's head needs beyond linear layers: batch norm, unit length, the weight-normalised last layer.

use dfdx::prelude::{Dim, HasShape, PutTape, SplitTape, Tape, Tensor};

use super::{take, with_gradients};
use crate::kernels::{Kernels, Products};
use crate::tensor::Float;

type Rows<W, D, T = dfdx::prelude::NoneTape> = Tensor<(usize, W), Float, D, T>;

/// PyTorch's `BatchNorm1d` default.
pub const BATCH_NORM_EPSILON: f32 = 1e-5;
/// PyTorch's `F.normalize` default.
const UNIT_EPSILON: f32 = 1e-12;

/// Mean and biased variance of each feature over a batch's rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    pub mean: Vec<Float>,
    pub variance: Vec<Float>,
    /// Rows that they were taken over.
    pub rows: usize,
}

/// (rows, W) to the same: each feature normalised over the rows, `residual` added, what is below 0 made 0 under `relu`.
/// PyTorch equivalent: `F.relu(BatchNorm1d(W)(x) + residual)` in training mode.
pub fn batch_norm<W: Dim, D: Kernels, T: Tape<Float, D>>(
    x: Rows<W, D, T>,
    gain: &Tensor<(W,), Float, D>,
    bias: &Tensor<(W,), Float, D>,
    residual: Option<&Rows<W, D>>,
    relu: bool,
) -> Result<(Rows<W, D, T>, Seen<D>), D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let (rows, dim) = (x.shape().0, x.shape().1.size());
    let (mut y, mut mean) = (device.empty(*x.shape())?, device.empty((dim,))?);
    let (mut variance, mut rstd) = (device.empty((dim,))?, device.empty((dim,))?);
    device.batch_norm(
        rows,
        dim,
        BATCH_NORM_EPSILON,
        relu,
        D::view(&x),
        D::view(gain),
        D::view(bias),
        residual.map(|r| D::view(r)),
        D::view_mut(&mut y),
        D::view_mut(&mut mean),
        D::view_mut(&mut variance),
        D::view_mut(&mut rstd),
    )?;
    let seen = Seen { mean: mean.clone(), variance, rows };
    if T::OWNS_TAPE {
        let (gain, bias, kept, y) = (gain.clone(), bias.clone(), relu.then(|| y.clone()), y.ghost());
        let residual = residual.map(|r| r.ghost());
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            let mut dresidual = match &residual {
                Some(residual) => Some(take(&device, grads.get_or_alloc_mut(residual)?)?),
                None => None,
            };
            with_gradients!(&device, grads; dx = &x, dgain = &gain, dbias = &bias => {
                let kept = kept.as_ref().map(|y| D::view(y));
                let (dx, dresidual) = (D::buffer_mut(&mut dx), dresidual.as_mut().map(|d| D::buffer_mut(d)));
                device.batch_norm_backward(
                    rows, dim, D::buffer(&dy), kept, D::view(&x), D::view(&gain), D::view(&mean), D::view(&rstd),
                    dx, dresidual, D::buffer_mut(&mut dgain), D::buffer_mut(&mut dbias),
                )?;
            });
            if let (Some(residual), Some(dresidual)) = (&residual, dresidual) {
                *grads.get_or_alloc_mut(residual)? = dresidual;
            }
            Ok(())
        });
    }
    Ok((y.put_tape(tape), seen))
}

/// What a batch norm saw, where it saw it.
pub struct Seen<D: Kernels> {
    mean: Tensor<(usize,), Float, D>,
    variance: Tensor<(usize,), Float, D>,
    rows: usize,
}

impl<D: Kernels> Seen<D> {
    /// Statistics of all norms of a pass, read together: each read waits for whatever the device still has to do.
    pub fn read(device: &D, seen: &[Self]) -> Result<Vec<Statistics>, D::Err> {
        let parts: Vec<_> = seen.iter().flat_map(|seen| [&seen.mean, &seen.variance]).collect();
        let len: usize = parts.iter().map(|part| part.shape().0).sum();
        let (mut all, mut place) = (device.empty((len,))?, 0);
        for part in parts {
            device.copy_to(place, D::view(part), D::view_mut(&mut all))?;
            place += part.shape().0;
        }
        let mut values = device.read(D::view(&all))?.into_iter();
        let mut next = |len| values.by_ref().take(len).collect();
        let of = |seen: &Self| {
            let width = seen.mean.shape().0;
            Statistics { mean: next(width), variance: next(width), rows: seen.rows }
        };
        Ok(seen.iter().map(of).collect())
    }
}

/// [`batch_norm`] by given means and variances. PyTorch equivalent: the same in evaluation mode.
pub fn batch_norm_by<W: Dim, D: Kernels>(
    x: Rows<W, D>,
    gain: &Tensor<(W,), Float, D>,
    bias: &Tensor<(W,), Float, D>,
    residual: Option<&Rows<W, D>>,
    relu: bool,
    (mean, variance): (Vec<Float>, Vec<Float>),
) -> Result<Rows<W, D>, D::Err> {
    let device = x.device().clone();
    let (rows, dim) = (x.shape().0, x.shape().1.size());
    let mean = device.try_tensor_from_vec(mean, (dim,))?;
    let variance = device.try_tensor_from_vec(variance, (dim,))?;
    let mut y = device.empty(*x.shape())?;
    device.batch_norm_apply(
        rows,
        dim,
        BATCH_NORM_EPSILON,
        relu,
        D::view(&x),
        D::view(gain),
        D::view(bias),
        residual.map(|r| D::view(r)),
        D::view(&mean),
        D::view(&variance),
        D::view_mut(&mut y),
    )?;
    Ok(y)
}

/// (rows, W) to the same, each row of length 1. PyTorch equivalent: `F.normalize(x, dim=-1)`.
pub fn l2_normalize<W: Dim, D: Kernels, T: Tape<Float, D>>(
    x: Rows<W, D, T>,
) -> Result<Rows<W, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let (rows, dim) = (x.shape().0, x.shape().1.size());
    let (mut y, mut norms) = (device.empty(*x.shape())?, device.empty((rows,))?);
    device.l2(rows, dim, UNIT_EPSILON, D::view(&x), D::view_mut(&mut y), D::view_mut(&mut norms))?;
    if T::OWNS_TAPE {
        let (x, kept, y) = (x.ghost(), y.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            let dx = D::buffer_mut(grads.get_or_alloc_mut(&x)?);
            device.l2_backward(rows, dim, D::buffer(&dy), D::view(&kept), D::view(&norms), dx)
        });
    }
    Ok(y.put_tape(tape))
}

/// (rows, I) to (rows, O) by directions `v` of length 1 times magnitudes `g` (all 1 and untrained when `fixed`).
/// PyTorch equivalent: `weight_norm(Linear(I, O, bias=False))`.
pub fn weight_normed<I: Dim, O: Dim, D: Kernels, T: Tape<Float, D>>(
    x: Rows<I, D, T>,
    v: &Tensor<(O, I), Float, D>,
    g: &Tensor<(O,), Float, D>,
    fixed: bool,
    products: Products,
) -> Result<Rows<O, D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let (rows, inp, out) = (x.shape().0, x.shape().1.size(), v.shape().0.size());
    let (mut y, mut norms) = (device.empty((rows, v.shape().0))?, device.empty((out,))?);
    let (y_out, norms_out) = (D::view_mut(&mut y), D::view_mut(&mut norms));
    let (x_in, v_in, g_in) = (D::view(&x), D::view(v), Some(D::view(g)));
    device.normed_linear(products, rows, inp, out, x_in, v_in, g_in, y_out, norms_out)?;
    if T::OWNS_TAPE {
        let (v, g, y) = (v.clone(), g.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            let dy = take(&device, grads.get_or_alloc_mut(&y)?)?;
            with_gradients!(&device, grads; dx = &x, dv = &v, dg = &g => {
                let dg = (!fixed).then(|| D::buffer_mut(&mut dg));
                let (x, v, g) = (D::view(&x), D::view(&v), Some(D::view(&g)));
                let (dx, dv) = (D::buffer_mut(&mut dx), D::buffer_mut(&mut dv));
                let (dy, norms) = (D::buffer(&dy), D::view(&norms));
                device.normed_linear_backward(products, rows, inp, out, dy, x, v, g, norms, dx, dv, dg)?;
            });
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}
