//! Weights in the precision of products, made once and kept until they change: they go into many products between two updates.

use std::collections::HashMap;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use dfdx::prelude::CudaError;

use super::convert::convert;
use super::gpu::Gpu;
use super::scratch::Memory;
use super::view::{Kind, View};

/// Tensors whose numbers are kept. What a network that is gone has left behind goes when more have come.
const TENSORS: usize = 1024;

/// Numbers of one stretch of a tensor.
struct Entry {
    pointer: CUdeviceptr,
    kind: Kind,
    numbers: Arc<Memory>,
}

/// What is kept, by the tensor that it was made of.
#[derive(Default)]
pub struct Kept(HashMap<u64, Vec<Entry>>);

impl Kept {
    /// Forgets what was made of a tensor, which is about to change.
    pub fn forget(&mut self, tensor: u64) {
        self.0.remove(&tensor);
    }

    fn find(&self, tensor: u64, kind: Kind, w: View<'_>) -> Option<Arc<Memory>> {
        let same = |entry: &&Entry| {
            entry.pointer == w.pointer() && entry.kind == kind && entry.numbers.len() == w.len()
        };
        self.0.get(&tensor)?.iter().find(same).map(|entry| entry.numbers.clone())
    }

    fn keep(&mut self, tensor: u64, kind: Kind, w: View<'_>, numbers: &Arc<Memory>) {
        if self.0.len() >= TENSORS {
            self.0.clear();
        }
        let entry = Entry { pointer: w.pointer(), kind, numbers: numbers.clone() };
        self.0.entry(tensor).or_default().push(entry);
    }
}

/// A tensor's numbers in another precision; nothing where they are in it already.
///
/// # Errors
/// When there is no memory for them.
pub fn rounded(gpu: &Gpu, kind: Kind, w: View<'_>) -> Result<Option<Arc<Memory>>, CudaError> {
    if kind == Kind::F32 {
        return Ok(None);
    }
    if let Some(known) = w.tensor().and_then(|tensor| gpu.with_kept(|kept| kept.find(tensor, kind, w))) {
        return Ok(Some(known));
    }
    let mut numbers = gpu.unwritten(kind, w.len())?;
    convert(gpu, w.into(), numbers.any_mut())?;
    let numbers = Arc::new(numbers);
    if let Some(tensor) = w.tensor() {
        gpu.with_kept(|kept| kept.keep(tensor, kind, w, &numbers));
    }
    Ok(Some(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Products;
    use crate::kernels::cuda::probe::{self, lent, taken};

    #[test]
    fn what_was_made_of_a_tensor_is_kept_until_it_changes() {
        let Some(gpu) = probe::gpu() else { return };
        let mut weights = lent(gpu, &[1.0, 2.0, 3.0, 4.0]);
        let made = |weights: &Memory, range| {
            let view = weights.view().of_tensor(u64::MAX).slice(range);
            rounded(gpu, Kind::of(Products::Bf16), view).unwrap().unwrap()
        };
        let first = made(&weights, 0..4);
        assert!(Arc::ptr_eq(&first, &made(&weights, 0..4)), "made once");
        assert_eq!(taken(gpu, &made(&weights, 1..3)), [2.0, 3.0]);
        gpu.write(weights.view_mut(), &[5.0, 6.0, 7.0, 8.0]).unwrap();
        gpu.with_kept(|kept| kept.forget(u64::MAX));
        assert_eq!(taken(gpu, &made(&weights, 0..4)), [5.0, 6.0, 7.0, 8.0]);
        assert_eq!(taken(gpu, &first), [1.0, 2.0, 3.0, 4.0], "whoever has it keeps it");
        gpu.with_kept(|kept| kept.forget(u64::MAX));
    }
}
