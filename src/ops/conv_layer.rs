//! One layer of a convolutional stem: gelu(norm(x * w)).

use dfdx::prelude::{HasShape, PutTape, SplitTape, Tape, Tensor};

use super::{LAYER_NORM_EPSILON, take, with_gradients};
use crate::kernels::{ConvDims, Kernels, Products, Rows};
use crate::nn::stem::ConvLayer;
use crate::tensor::Float;

/// Maps of several images, one row a position: (images · height · width, channels).
pub type Maps<D, T = dfdx::prelude::NoneTape> = Tensor<(usize, usize), Float, D, T>;

/// Images, and the positions down and across each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub images: usize,
    pub height: usize,
    pub width: usize,
}

impl Extent {
    /// After a window that moves by `stride` has gone over them.
    pub fn strided(self, stride: usize) -> Self {
        let Extent { images, height, width } = self;
        Extent { images, height: height.div_ceil(stride), width: width.div_ceil(stride) }
    }

    /// After a convolution with stride 2.
    pub fn halved(self) -> Self {
        self.strided(2)
    }

    /// Positions in all.
    pub fn rows(self) -> usize {
        self.images * self.height * self.width
    }
}

/// Rows of `extent` to rows of `extent.halved()`. PyTorch equivalent, channels last: `F.gelu(norm(F.conv2d(x, w, stride=2, padding=1)))`.
/// Nobody asks for the gradient of pixels: `pixels` says that x is no layer's output.
pub fn conv_layer<D: Kernels, T: Tape<Float, D>>(
    x: Maps<D, T>,
    extent: Extent,
    layer: &ConvLayer<D>,
    pixels: bool,
    products: Products,
) -> Result<Maps<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let device = x.device().clone();
    let (Extent { images, height, width }, inp, out) = (extent, layer.inp(), layer.out());
    let rows = extent.halved().rows();
    let mut pre = device.empty((rows, out))?;
    let dims = ConvDims { batch: images, height, width, inp, out, side: 3, stride: 2 };
    device.conv(products, dims, D::view(&x), D::view(&layer.weight), D::view_mut(&mut pre))?;
    let (z, mean, rstd) = normalized(&device, &pre, layer)?;
    let mut y = device.empty((rows, out))?;
    device.gelu(D::view(&z).into(), D::view_mut(&mut y).into())?;
    if T::OWNS_TAPE {
        let (layer, y) = (layer.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            // through the GELU, whose input is cheaper to compute again than to keep
            let mut dz = take(&device, grads.get_or_alloc_mut(&y)?)?;
            let (z, ..) = normalized(&device, &pre, &layer)?;
            device.gelu_backward(D::view(&z).into(), D::buffer_mut(&mut dz))?;
            let mut dpre = device.zeroed(rows * out)?;
            with_gradients!(&device, grads; dgain = &layer.gain, dbias = &layer.bias => {
                device.layer_norm_backward(
                    Rows::All(rows), out, D::buffer(&dz).into(), D::view(&pre), D::view(&layer.gain), D::view(&mean), D::view(&rstd),
                    D::buffer_mut(&mut dpre), D::buffer_mut(&mut dgain), D::buffer_mut(&mut dbias),
                )?;
            });
            let dpre = D::buffer(&dpre);
            with_gradients!(&device, grads; dw = &layer.weight => {
                let dw = D::buffer_mut(&mut dw);
                device.conv_backward_weight(products, dims, dpre, D::view(&x), dw)?;
            });
            if !pixels {
                with_gradients!(&device, grads; dx = &x => {
                    let (w, dx) = (D::view(&layer.weight), D::buffer_mut(&mut dx));
                    device.conv_backward_input(products, dims, dpre, w, dx)?;
                });
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

type Normalized<D> = (Maps<D>, Tensor<(usize,), Float, D>, Tensor<(usize,), Float, D>);

/// norm(pre) with the means and the reciprocal deviations of its rows.
fn normalized<D: Kernels>(device: &D, pre: &Maps<D>, layer: &ConvLayer<D>) -> Result<Normalized<D>, D::Err> {
    let (rows, out) = *pre.shape();
    let (mut z, mut mean, mut rstd) =
        (device.empty(*pre.shape())?, device.empty((rows,))?, device.empty((rows,))?);
    let (gain, bias) = (D::view(&layer.gain), D::view(&layer.bias));
    let (z_out, mean_out, rstd_out) =
        (D::view_mut(&mut z).into(), D::view_mut(&mut mean), D::view_mut(&mut rstd));
    device.layer_norm(
        Rows::All(rows),
        out,
        LAYER_NORM_EPSILON,
        D::view(pre),
        gain,
        bias,
        z_out,
        mean_out,
        rstd_out,
    )?;
    Ok((z, mean, rstd))
}
