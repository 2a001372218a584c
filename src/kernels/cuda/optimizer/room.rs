//! Room on the GPU for what kernels hand to the host: sums, choices.

use std::marker::PhantomData;

use bytemuck::Pod;
use cudarc::driver::result;
use dfdx::prelude::CudaError;

use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::launch::{Given, Pointer};
use crate::kernels::cuda::scratch::Memory;
use crate::kernels::cuda::view::Kind;

/// So many numbers of a type that views don't know. It is freed as [`Memory`] is.
pub struct Room<T> {
    memory: Memory,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Pod> Room<T> {
    /// f32 numbers that take as many bytes.
    const WORDS: usize = size_of::<T>() / 4;

    /// Numbers that are any.
    pub fn unwritten(gpu: &Gpu, len: usize) -> Result<Room<T>, CudaError> {
        Ok(Room { memory: gpu.unwritten(Kind::F32, len * Self::WORDS)?, len, of: PhantomData })
    }

    pub fn zeros(gpu: &Gpu, len: usize) -> Result<Room<T>, CudaError> {
        Ok(Room { memory: gpu.zeros(Kind::F32, len * Self::WORDS)?, len, of: PhantomData })
    }

    /// Where number `at` stands.
    pub fn place(&self, at: usize) -> Pointer {
        assert!(at <= self.len, "number {at} of {}", self.len);
        Pointer(self.memory.any().pointer() + (at * size_of::<T>()) as u64)
    }

    /// Waits for all that was started, and copies them.
    pub fn read(&self, gpu: &Gpu) -> Result<Vec<T>, CudaError> {
        let mut values = vec![T::zeroed(); self.len];
        if !values.is_empty() {
            gpu.bind()?;
            // SAFETY: the numbers stand there, any bytes are one, and the copy ends before `values` is looked at
            unsafe { result::memcpy_dtoh_sync(&mut values, self.place(0).0) }?;
        }
        Ok(values)
    }
}

impl<T: Pod> Given for Room<T> {
    type Taken = Pointer;
    fn given(&self) -> Pointer {
        self.place(0)
    }
}
