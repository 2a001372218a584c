//! dfdx's CPU device: views are slices.

use std::ops::Range;

use dfdx::prelude::{Cpu, CpuError, HasShape, Shape, Tensor, TensorFromVec};

use half::bf16;

use super::device::{Buffer, Device, Float};
use super::unwritten::unwritten;
use crate::kernels::{Numbers, NumbersMut, Products};

/// Activations in the processor's memory.
pub enum Activations {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Device for Cpu {
    type View<'a> = &'a [Float];
    type ViewMut<'a> = &'a mut [Float];
    type AnyView<'a> = Numbers<'a>;
    type AnyViewMut<'a> = NumbersMut<'a>;
    type Activations = Activations;

    fn word(&self) -> String {
        "cpu".into()
    }

    fn empty<S: Shape>(&self, shape: S) -> Result<Tensor<S, Float, Self>, CpuError> {
        self.try_tensor_from_vec(unwritten(shape.num_elements()), shape)
    }

    fn view<S: Shape>(tensor: &Tensor<S, Float, Self>) -> &[Float] {
        let len = tensor.shape().num_elements();
        if len == 0 {
            return &[];
        }
        assert_contiguous(tensor);
        let first: &Float = &tensor[S::Concrete::default()];
        // SAFETY: a contiguous CPU tensor's numbers lie in one `Vec` of `len` elements in row-major order, of which the index
        // of all zeros is the first. The borrow of `tensor` keeps the `Vec` alive and, since dfdx writes only
        // through `&mut`, unchanged for as long as the slice lives.
        unsafe { std::slice::from_raw_parts(first, len) }
    }

    fn view_mut<S: Shape>(tensor: &mut Tensor<S, Float, Self>) -> &mut [Float] {
        let len = tensor.shape().num_elements();
        if len == 0 {
            return &mut [];
        }
        assert_contiguous(tensor);
        // `IndexMut` gives this handle a buffer of its own before lending it
        let first: &mut Float = &mut tensor[S::Concrete::default()];
        // SAFETY: as in `view`; `IndexMut` has just made the `Vec` unique to this handle, which is borrowed mutably for as
        // long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(first, len) }
    }

    fn buffer(buffer: &Buffer<Self>) -> &[Float] {
        buffer.as_slice()
    }

    fn buffer_mut(buffer: &mut Buffer<Self>) -> &mut [Float] {
        buffer.as_mut_slice()
    }

    fn stretch<'a>(view: &'a [Float], range: Range<usize>) -> &'a [Float]
    where
        Self: 'a,
    {
        &view[range]
    }

    fn activations(&self, products: Products, len: usize) -> Result<Activations, CpuError> {
        Ok(match products {
            Products::F32 | Products::F16 => Activations::F32(unwritten(len)),
            Products::Bf16 => Activations::Bf16(unwritten(len)),
        })
    }

    fn kept(activations: &Activations) -> Numbers<'_> {
        match activations {
            Activations::F32(x) => Numbers::F32(x),
            Activations::Bf16(x) => Numbers::Bf16(x),
        }
    }

    fn kept_mut(activations: &mut Activations) -> NumbersMut<'_> {
        match activations {
            Activations::F32(x) => NumbersMut::F32(x),
            Activations::Bf16(x) => NumbersMut::Bf16(x),
        }
    }

    fn wide(activations: &Activations) -> &[Float] {
        match activations {
            Activations::F32(x) => x,
            Activations::Bf16(_) => panic!("a view of f32 numbers"),
        }
    }

    fn wide_mut(activations: &mut Activations) -> &mut [Float] {
        match activations {
            Activations::F32(x) => x,
            Activations::Bf16(_) => panic!("a view of f32 numbers"),
        }
    }

    fn read(&self, view: &[Float]) -> Result<Vec<Float>, CpuError> {
        Ok(view.to_vec())
    }

    fn write(&self, view: &mut [Float], values: &[Float]) -> Result<(), CpuError> {
        if view.len() != values.len() {
            return Err(CpuError::WrongNumElements);
        }
        view.copy_from_slice(values);
        Ok(())
    }
}

/// dfdx shows no strides, so the step along each axis is read off the addresses.
///
/// # Panics
/// For a permuted or broadcast tensor: call `contiguous()` on it first.
fn assert_contiguous<S: Shape, T>(tensor: &Tensor<S, Float, Cpu, T>) {
    let dims = tensor.shape().concrete();
    let origin = S::Concrete::default();
    let base = std::ptr::from_ref(&tensor[origin]).addr();
    let mut stride = std::mem::size_of::<Float>();
    for axis in (0..S::NUM_DIMS).rev() {
        if dims[axis] > 1 {
            let mut next = origin;
            next[axis] = 1;
            let found = std::ptr::from_ref(&tensor[next]).addr().wrapping_sub(base);
            assert_eq!(found, stride, "axis {axis} of {:?} is not contiguous", tensor.shape());
        }
        stride *= dims[axis];
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::*;

    use super::Device as _;

    #[test]
    fn views_reach_the_tensor_and_leave_clones_alone() {
        let cpu = Cpu::default();
        let mut a = cpu.tensor_from_vec(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (2usize, Const::<3>));
        let kept = a.clone();
        Cpu::view_mut(&mut a)[4] = 50.0;
        assert_eq!(Cpu::view(&a), [1.0, 2.0, 3.0, 4.0, 50.0, 6.0]);
        assert_eq!(Cpu::view(&kept), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(a.as_vec(), Cpu::view(&a));
    }

    #[test]
    #[should_panic(expected = "not contiguous")]
    fn a_permuted_tensor_is_refused() {
        let cpu = Cpu::default();
        let a: Tensor<Rank2<2, 3>, f32, _> = cpu.zeros();
        let _ = Cpu::view(&a.permute::<Rank2<3, 2>, Axes2<1, 0>>());
    }
}
