//! A predictor between the student's logits and the loss (Grill et al. 2020, BYOL): an MLP that the teacher has no part in.

use dfdx::prelude::{Gradients as Slots, HasShape, PutTape, ReshapeTo, SplitTape, Tape, Tensor};

use super::batch_norm::{BatchNorm, Norms};
use super::network::Gradients;
use super::parameter::{Mut, Parameters, Ref, parameters};
use crate::graph::spec::Activation;
use crate::kernels::{Kernels, Products};
use crate::keyed::Key;
use crate::ops;
use crate::tensor::{Batched, Device, Float, GradTape};

type Rows<D, T = dfdx::prelude::NoneTape> = Tensor<(usize, usize), Float, D, T>;

/// What a predictor is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Width of its input and output: K.
    pub outputs: usize,
    pub hidden: usize,
    /// Batch norm after the hidden layer.
    pub batch_norm: bool,
    /// What follows the hidden layer.
    pub activation: Activation,
}

impl Shape {
    /// Numbers that it trains.
    pub fn parameters(self) -> u64 {
        let (k, hidden) = (self.outputs as u64, self.hidden as u64);
        2 * k * hidden + hidden + k + if self.batch_norm { 2 * hidden } else { 0 }
    }
}

/// K to hidden, perhaps batch norm, activation, and back to K. Keys are those of PyTorch's `Sequential`: `predictor.0.weight`.
pub struct Predictor<D: Device> {
    first: Linear<D>,
    norm: Option<BatchNorm<D>>,
    second: Linear<D>,
    shape: Shape,
    /// The precision of its products.
    products: Products,
    device: D,
}

struct Linear<D: Device> {
    weight: Tensor<(usize, usize), Float, D>,
    bias: Tensor<(usize,), Float, D>,
}

impl<D: Device> Parameters<D> for Linear<D> {
    parameters!(self: weight "weight" [self.weight.shape().0, self.weight.shape().1],
        bias "bias" [self.bias.shape().0]);
}

impl<D: Kernels> Predictor<D> {
    /// First weights as a head's: matrices normal of deviation 0.02, biases 0, the norm 1 and 0.
    pub fn new(device: &D, shape: Shape, products: Products, seed: u64) -> Result<Self, D::Err> {
        let row = |len: usize| device.try_zeros_like(&(len,));
        let linear = |inp: usize, out: usize| -> Result<Linear<D>, D::Err> {
            Ok(Linear { weight: device.try_zeros_like(&(out, inp))?, bias: row(out)? })
        };
        let mut predictor = Predictor {
            first: linear(shape.outputs, shape.hidden)?,
            norm: if shape.batch_norm { Some(BatchNorm::zeros(device, shape.hidden)?) } else { None },
            second: linear(shape.hidden, shape.outputs)?,
            shape,
            products,
            device: device.clone(),
        };
        for parameter in predictor.parameters_mut() {
            let mut draws = Key::new(seed).named("first weights").named(&parameter.name).draws();
            let mut value = || match parameter.dims.len() {
                2 => (0.02 * draws.normal()) as Float,
                _ if parameter.name.ends_with("weight") => 1.0,
                _ => 0.0,
            };
            let values: Vec<Float> = (0..parameter.tensor.len()).map(|_| value()).collect();
            device.write(parameter.tensor.view_mut(), &values)?;
        }
        Ok(predictor)
    }

    /// Every parameter under its key, always in the same order.
    pub fn parameters(&self) -> Vec<Ref<'_, D>> {
        let mut list = Vec::new();
        self.first.list("predictor.0.", &mut list);
        self.norm.iter().for_each(|norm| norm.list("predictor.1.", &mut list));
        self.second.list(self.last_key(), &mut list);
        list
    }

    /// The same for writing.
    pub fn parameters_mut(&mut self) -> Vec<Mut<'_, D>> {
        let (mut list, last) = (Vec::new(), self.last_key());
        self.first.list_mut("predictor.0.", &mut list);
        self.norm.iter_mut().for_each(|norm| norm.list_mut("predictor.1.", &mut list));
        self.second.list_mut(last, &mut list);
        list
    }

    fn last_key(&self) -> &'static str {
        if self.shape.batch_norm { "predictor.3." } else { "predictor.2." }
    }

    /// Gradient buffers of zeros.
    pub fn zero_gradients(&self) -> Result<Gradients<D>, D::Err> {
        let zeros = |p: &Ref<'_, D>| self.device.zeroed(p.tensor.len());
        Ok(Gradients::new(self.parameters().iter().map(zeros).collect::<Result<_, _>>()?))
    }

    /// (views, batch, K) to the same, with the way back.
    pub fn forward_traced(&self, logits: &Batched<D>) -> Result<(Batched<D>, Way<D>), D::Err> {
        let k = self.shape.outputs;
        let rows = logits.dims.iter().product::<usize>() / k.max(1);
        let x: Rows<D> = logits.flat.clone().try_reshape_like(&(rows, k))?;
        let (y, tape) = self.forward(x.clone().put_tape(GradTape::default()))?.split_tape();
        let flat = y.clone().try_reshape_like(&(rows * k,))?;
        let answer = Batched { flat, dims: logits.dims.clone(), batch: logits.batch };
        Ok((answer, Way { tape, x, y }))
    }

    fn forward<T: Tape<Float, D>>(&self, x: Rows<D, T>) -> Result<Rows<D, T>, D::Err> {
        let (Linear { weight, bias }, products) = (&self.first, self.products);
        let hidden = match (&self.norm, self.shape.activation) {
            (None, Activation::Gelu) => ops::linear_gelu(x, weight, bias, products)?,
            (norm, activation) => {
                let mut x = ops::linear(x, weight, bias, products)?;
                if let Some(norm) = norm {
                    // nobody asks for the running statistics: a predictor has no use but in training
                    let key = "predictor.1".to_owned();
                    x = norm.forward(x, None, false, key, &mut Norms::Batch(Vec::new()))?;
                }
                match activation {
                    Activation::Gelu => ops::gelu(x)?,
                    Activation::Relu => ops::relu(x)?,
                }
            }
        };
        ops::linear(hidden, &self.second.weight, &self.second.bias, products)
    }
}

/// The backward half of a traced pass. It holds the tape, so it stays on its thread.
pub struct Way<D: Device> {
    tape: GradTape<D>,
    x: Rows<D>,
    y: Rows<D>,
}

impl<D: Kernels> Way<D> {
    /// From the gradient of the output to that of the logits. The gradients of the parameters of `predictor`, the one that was
    /// traced, are added to `sums`.
    pub fn run(
        self,
        predictor: &Predictor<D>,
        gradient: &Batched<D>,
        sums: &mut Gradients<D>,
    ) -> Result<Batched<D>, D::Err> {
        let (device, mut slots) = (&predictor.device, Slots::leaky());
        let parameters = predictor.parameters();
        // the sums so far stand in the parameters' slots, so that every backward step adds to them
        for (parameter, sum) in parameters.iter().zip(&mut sums.buffers) {
            std::mem::swap(parameter.tensor.gradient(&mut slots)?, sum);
        }
        device.axpy(D::buffer_mut(slots.get_or_alloc_mut(&self.y)?), 1.0, gradient.view())?;
        self.tape.run(&mut slots)?;
        for (parameter, sum) in parameters.iter().zip(&mut sums.buffers) {
            std::mem::swap(parameter.tensor.gradient(&mut slots)?, sum);
        }
        let mut back = Batched::empty(device, gradient.dims.clone(), gradient.batch)?;
        device.copy_to(0, D::buffer(slots.get_or_alloc_mut(&self.x)?), back.view_mut())?;
        Ok(back)
    }
}

#[cfg(test)]
mod tests;
