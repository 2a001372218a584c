//! How values cross between the micro-batch's rate and the step's.

use std::ops::Range;
use std::sync::Arc;

use dfdx::prelude::{HasShape, Storage};

use super::stage::{StageError, Value};
use crate::kernels::Kernels;
use crate::nn::network::Gradients;
use crate::nn::weights::failed;
use crate::tensor::{Batched, Float};

fn wrong<D: Kernels>(value: &Value<D>, wanted: &str) -> StageError {
    StageError::Bug(format!("a wire that is {wanted} between two rates carries {}", value.kind()))
}

/// Micro-batches joined along `axis`, in their order: (…, b, …) each, (…, B, …) in all. One alone is passed on as it is.
pub fn join<D: Kernels>(mut parts: Vec<Value<D>>, axis: usize) -> Result<Value<D>, StageError> {
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    let tensors = parts.iter().map(|value| match value {
        Value::Tensor(tensor) => Ok(tensor),
        other => Err(wrong(other, "joined")),
    });
    let tensors: Vec<&Batched<D>> = tensors.collect::<Result<_, _>>()?;
    let Some(first) = tensors.first() else {
        return Err(StageError::Bug("no micro-batch to join".into()));
    };
    let mut dims = first.dims.clone();
    dims[axis] = tensors.iter().map(|t| t.dims[axis]).sum();
    let outer: usize = dims[..axis].iter().product();
    let device = first.flat.device();
    let mut joined = Batched::empty(device, dims, first.batch).map_err(failed)?;
    let mut at = 0;
    for row in 0..outer {
        for tensor in &tensors {
            let length = tensor.dims[axis..].iter().product::<usize>();
            let stretch = D::stretch(tensor.view(), row * length..(row + 1) * length);
            device.copy_to(at, stretch, joined.view_mut()).map_err(failed)?;
            at += length;
        }
    }
    Ok(Value::Tensor(joined))
}

/// The entries `range` of `axis`. A range that is all of it is passed on as it is.
pub fn part<D: Kernels>(value: &Value<D>, axis: usize, range: Range<usize>) -> Result<Value<D>, StageError> {
    let Value::Tensor(whole) = value else {
        return Err(wrong(value, "cut"));
    };
    if range == (0..whole.dims[axis]) {
        return Ok(value.clone());
    }
    let inner: usize = whole.dims[axis + 1..].iter().product();
    let outer: usize = whole.dims[..axis].iter().product();
    let mut dims = whole.dims.clone();
    dims[axis] = range.len();
    let device = whole.flat.device();
    let mut cut = Batched::empty(device, dims, whole.batch).map_err(failed)?;
    for row in 0..outer {
        let start = (row * whole.dims[axis] + range.start) * inner;
        let stretch = D::stretch(whole.view(), start..start + range.len() * inner);
        device.copy_to(row * range.len() * inner, stretch, cut.view_mut()).map_err(failed)?;
    }
    Ok(Value::Tensor(cut))
}

/// `sum + more`, element by element.
pub fn add<D: Kernels>(device: &D, sum: Value<D>, more: &Value<D>) -> Result<Value<D>, StageError> {
    match (sum, more) {
        (Value::Tensor(sum), Value::Tensor(more)) => {
            let length = sum.flat.shape().0;
            assert_same(length, more.flat.shape().0)?;
            let mut added = Batched::empty(device, sum.dims.clone(), sum.batch).map_err(failed)?;
            device.copy_to(0, sum.view(), added.view_mut()).map_err(failed)?;
            device.axpy(added.view_mut(), 1.0, more.view()).map_err(failed)?;
            Ok(Value::Tensor(added))
        }
        (Value::Gradients(sum), Value::Gradients(more)) => {
            if sum.scale != 1.0 || more.scale != 1.0 {
                return Err(StageError::Bug("gradients that are scaled can't be summed".into()));
            }
            // a sum that someone else still reads is copied
            let buffers = Arc::try_unwrap(sum).map(|s| s.buffers).unwrap_or_else(|s| s.buffers.clone());
            let mut sum = Gradients::new(buffers);
            add_gradients(device, &mut sum, more)?;
            Ok(Value::Gradients(Arc::new(sum)))
        }
        (sum, _) => Err(wrong(&sum, "summed")),
    }
}

fn add_gradients<D: Kernels>(
    device: &D,
    sum: &mut Gradients<D>,
    more: &Gradients<D>,
) -> Result<(), StageError> {
    for (sum, more) in sum.buffers.iter_mut().zip(&more.buffers) {
        assert_same(Storage::<Float>::len(device, sum), Storage::<Float>::len(device, more))?;
        device.axpy(D::buffer_mut(sum), 1.0, D::buffer(more)).map_err(failed)?;
    }
    Ok(())
}

fn assert_same(sum: usize, more: usize) -> Result<(), StageError> {
    if sum != more {
        return Err(StageError::Bug(format!("{more} numbers are to be added to {sum}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Device;
    use dfdx::prelude::Cpu;

    fn tensor(values: &[f32], dims: &[usize]) -> Value<Cpu> {
        let device = Cpu::default();
        Value::Tensor(Batched::from_host(&device, values.to_vec(), dims.to_vec(), Some(1)).unwrap())
    }

    fn numbers(value: &Value<Cpu>) -> (Vec<usize>, Vec<f32>) {
        let Value::Tensor(tensor) = value else { panic!("not a tensor") };
        (tensor.dims.clone(), tensor.to_host().unwrap())
    }

    #[test]
    fn joining_undoes_cutting() {
        // (views 2, batch 3, width 2)
        let whole = tensor(&[0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.], &[2, 3, 2]);
        let first = part(&whole, 1, 0..2).unwrap();
        assert_eq!(numbers(&first), (vec![2, 2, 2], vec![0., 1., 2., 3., 6., 7., 8., 9.]));
        let last = part(&whole, 1, 2..3).unwrap();
        assert_eq!(numbers(&join(vec![first, last], 1).unwrap()), numbers(&whole));
    }

    #[test]
    fn gradients_add_and_their_readers_keep_theirs() {
        let device = Cpu::default();
        let gradients = |x: f32| {
            let mut buffer = device.zeroed(2).unwrap();
            buffer.copy_from_slice(&[x, 10.0 * x]);
            Arc::new(Gradients::<Cpu>::new(vec![buffer]))
        };
        let kept = gradients(1.0);
        let sum = add(&device, Value::Gradients(kept.clone()), &Value::Gradients(gradients(2.0))).unwrap();
        let Value::Gradients(sum) = sum else { panic!("not gradients") };
        assert_eq!(
            (Cpu::buffer(&sum.buffers[0]), Cpu::buffer(&kept.buffers[0])),
            (&[3., 30.][..], &[1., 10.][..])
        );
    }

    #[test]
    fn a_wire_that_cannot_be_converted_says_what_it_carries() {
        let error = join(vec![Value::<Cpu>::Gathered(vec![]), tensor(&[1.], &[1, 1])], 1).err().unwrap();
        assert!(error.to_string().contains("gathered"), "{error}");
    }
}
