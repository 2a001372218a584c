//! Weights in the precision of products, made once and kept until they change: they go into many products between two updates.
//!
//! When a tensor is about to change, what was made of it is out of date, and only its memory is of use. An update that knows the tensor
//! writes the new numbers there in the same pass ([`renewal`]); after any other the first product does ([`rounded`]).

use std::collections::HashMap;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use dfdx::prelude::CudaError;

use super::convert::convert;
use super::gpu::Gpu;
use super::scratch::Memory;
use super::view::{AnyMut, Kind, View, ViewMut};

/// Tensors whose numbers are kept. What a network that is gone has left behind goes when more have come.
const TENSORS: usize = 1024;

/// Which numbers: a stretch of a tensor, in this precision.
#[derive(Clone, Copy, PartialEq)]
struct Stretch {
    pointer: CUdeviceptr,
    len: usize,
    kind: Kind,
}

/// What was made of a tensor.
#[derive(Default)]
struct Made {
    /// Of the numbers that it has.
    current: Vec<(Stretch, Arc<Memory>)>,
    /// Of those that it had: room for others.
    stale: Vec<(Stretch, Arc<Memory>)>,
}

/// What is kept, by the tensor that it was made of.
#[derive(Default)]
pub struct Kept(HashMap<u64, Made>);

impl Kept {
    /// Lets what was made of a tensor, which is about to change, be out of date. Only what was of use until now stays as room.
    pub fn forget(&mut self, tensor: u64) {
        let Some(made) = self.0.get_mut(&tensor) else { return };
        if !made.current.is_empty() {
            made.stale = std::mem::take(&mut made.current);
        }
    }

    /// Lets everything go.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn find(&self, tensor: u64, stretch: Stretch) -> Option<Arc<Memory>> {
        let made = &self.0.get(&tensor)?.current;
        made.iter().find(|(of, _)| *of == stretch).map(|(_, numbers)| numbers.clone())
    }

    /// Memory for new numbers of a stretch, where there is some that nobody else looks at.
    fn room(&mut self, tensor: u64, stretch: Stretch) -> Option<Memory> {
        let stale = &mut self.0.get_mut(&tensor)?.stale;
        let at = stale.iter().position(|(of, _)| *of == stretch)?;
        Arc::into_inner(stale.swap_remove(at).1)
    }

    fn keep(&mut self, tensor: u64, stretch: Stretch, numbers: &Arc<Memory>) {
        if self.0.len() >= TENSORS && !self.0.contains_key(&tensor) {
            self.0.clear();
        }
        self.0.entry(tensor).or_default().current.push((stretch, numbers.clone()));
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
    let stretch = Stretch { pointer: w.pointer(), len: w.len(), kind };
    if let Some(known) = w.tensor().and_then(|tensor| gpu.with_kept(|kept| kept.find(tensor, stretch))) {
        return Ok(Some(known));
    }
    let room = w.tensor().and_then(|tensor| gpu.with_kept(|kept| kept.room(tensor, stretch)));
    let mut numbers = match room {
        Some(room) => room,
        None => gpu.unwritten(kind, w.len())?,
    };
    convert(gpu, w.into(), numbers.any_mut())?;
    let numbers = Arc::new(numbers);
    if let Some(tensor) = w.tensor() {
        gpu.with_kept(|kept| kept.keep(tensor, stretch, &numbers));
    }
    Ok(Some(numbers))
}

/// Room for a tensor's numbers in another precision, which are written with them. Until [`Renewal::done`] nobody finds them.
pub struct Renewal {
    tensor: u64,
    stretch: Stretch,
    numbers: Memory,
}

/// What is to be written with all numbers of a tensor: nothing where none were in use in this precision, or somebody looks at them still.
pub fn renewal(gpu: &Gpu, kind: Kind, w: &ViewMut<'_>) -> Option<Renewal> {
    let tensor = w.tensor()?;
    let stretch = Stretch { pointer: w.pointer(), len: w.len(), kind };
    let numbers = gpu.with_kept(|kept| kept.room(tensor, stretch))?;
    Some(Renewal { tensor, stretch, numbers })
}

impl Renewal {
    pub fn any_mut(&mut self) -> AnyMut<'_> {
        self.numbers.any_mut()
    }

    /// The kernel that writes them was started, and they are the tensor's.
    pub fn done(self, gpu: &Gpu) {
        gpu.with_kept(|kept| kept.keep(self.tensor, self.stretch, &Arc::new(self.numbers)));
    }
}

#[cfg(test)]
mod tests;
