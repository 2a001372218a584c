//! For tests: arrays that start anywhere.

use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::probe;
use crate::kernels::cuda::scratch::Memory;
use crate::kernels::cuda::view::{View, ViewMut};

/// Numbers on the GPU, `shift` of them behind the start of their memory, so that they may lie on no boundary of four.
pub struct Placed {
    memory: Memory,
    shift: usize,
}

impl Placed {
    pub fn new(gpu: &Gpu, shift: usize, values: &[f32]) -> Placed {
        let padded = [&vec![f32::NAN; shift], values].concat();
        Placed { memory: probe::lent(gpu, &padded), shift }
    }

    /// An output to be overwritten.
    pub fn poisoned(gpu: &Gpu, shift: usize, len: usize) -> Placed {
        Placed::new(gpu, shift, &vec![f32::NAN; len])
    }

    pub fn view(&self) -> View<'_> {
        self.memory.view().slice(self.shift..self.memory.len())
    }

    pub fn view_mut(&mut self) -> ViewMut<'_> {
        let (shift, len) = (self.shift, self.memory.len());
        let view = self.memory.view_mut();
        // SAFETY: a stretch of the same, for as long
        unsafe { ViewMut::new(view.pointer() + 4 * shift as u64, len - shift) }
    }

    pub fn taken(&self, gpu: &Gpu) -> Vec<f32> {
        gpu.read(self.view()).unwrap()
    }
}
