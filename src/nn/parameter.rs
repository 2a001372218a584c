//! Parameters behind one face, whatever their typed shape: one list of names serves saving, updating, averaging, counting.

use dfdx::prelude::{Gradients, HasShape, Shape, Tensor};

use crate::tensor::{Buffer, Device, Float};

/// A typed tensor whose shape no longer matters.
pub trait Erased<D: Device> {
    /// Its numbers, row-major.
    fn view(&self) -> D::View<'_>;
    /// Its numbers for writing; a copy is made while another handle lives.
    fn view_mut(&mut self) -> D::ViewMut<'_>;
    /// How many numbers it has.
    fn len(&self) -> usize;
    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Its gradient's buffer among `gradients`, made of zeros when it is not there yet.
    fn gradient<'g>(&self, gradients: &'g mut Gradients<Float, D>) -> Result<&'g mut Buffer<D>, D::Err>;
    /// Takes a new id and a buffer of its own, with the same numbers.
    fn refresh(&mut self) -> Result<(), D::Err>;
}

impl<S: Shape, D: Device> Erased<D> for Tensor<S, Float, D> {
    fn view(&self) -> D::View<'_> {
        D::view(self)
    }

    fn view_mut(&mut self) -> D::ViewMut<'_> {
        D::view_mut(self)
    }

    fn len(&self) -> usize {
        self.shape().num_elements()
    }

    fn gradient<'g>(&self, gradients: &'g mut Gradients<Float, D>) -> Result<&'g mut Buffer<D>, D::Err> {
        gradients.get_or_alloc_mut(self)
    }

    fn refresh(&mut self) -> Result<(), D::Err> {
        let device = self.device().clone();
        let values = device.read(D::view(self))?;
        *self = device.try_tensor_from_vec(values, *self.shape())?;
        Ok(())
    }
}

/// One parameter of a network under its published name.
pub struct Parameter<T> {
    /// The published key: `backbone.blocks.0.attn.qkv.weight`.
    pub name: String,
    /// The published shape.
    pub dims: Vec<usize>,
    /// Never trained: the last layer's magnitudes under `norm_last_layer`.
    pub fixed: bool,
    pub tensor: T,
}

/// A parameter to read.
pub type Ref<'a, D> = Parameter<&'a dyn Erased<D>>;

/// A parameter to write.
pub type Mut<'a, D> = Parameter<&'a mut dyn Erased<D>>;

/// Something with named parameters, always listed in the same order.
pub trait Parameters<D: Device> {
    fn list<'a>(&'a self, prefix: &str, to: &mut Vec<Ref<'a, D>>);
    fn list_mut<'a>(&'a mut self, prefix: &str, to: &mut Vec<Mut<'a, D>>);
}

/// Lists a module's tensors once and implements [`Parameters`] from it:
/// `parameters!(self: weight "weight" [O, I], bias "bias" [O]; nested norm "norm1")`.
macro_rules! parameters {
    ($this:ident: $($field:ident $name:literal [$($dim:expr),*]),* $(; $(nested $part:ident $under:literal),+)?) => {
        fn list<'a>(&'a $this, prefix: &str, to: &mut Vec<$crate::nn::parameter::Ref<'a, D>>) {
            $(to.push($crate::nn::parameter::Parameter {
                name: format!("{prefix}{}", $name), dims: vec![$($dim),*], fixed: false, tensor: &$this.$field,
            });)*
            $($($this.$part.list(&format!("{prefix}{}.", $under), to);)+)?
        }
        fn list_mut<'a>(&'a mut $this, prefix: &str, to: &mut Vec<$crate::nn::parameter::Mut<'a, D>>) {
            $(let dims = vec![$($dim),*];
            to.push($crate::nn::parameter::Parameter {
                name: format!("{prefix}{}", $name), dims, fixed: false, tensor: &mut $this.$field,
            });)*
            $($($this.$part.list_mut(&format!("{prefix}{}.", $under), to);)+)?
        }
    };
}
pub(crate) use parameters;
