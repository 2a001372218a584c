//! Memory of the host's that the GPU reads by itself, while the host goes on.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaDevice, sys};
use dfdx::prelude::CudaError;

use crate::kernels::cuda::failure::judged;
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::scratch::Memory;
use crate::kernels::cuda::stream::Event;

/// Page-locked memory of the host's, and whether the GPU has read what was last sent from it.
pub struct Pinned {
    device: Arc<CudaDevice>,
    bytes: *mut u8,
    len: usize,
    read: Event,
}

// SAFETY: the memory is the process's, not a thread's
unsafe impl Send for Pinned {}

impl Pinned {
    /// So many bytes, which are zeros.
    ///
    /// # Errors
    /// When the system has not so much memory to lock.
    pub fn new(gpu: &Gpu, len: usize) -> Result<Pinned, CudaError> {
        let read = Event::new(gpu)?;
        let mut bytes: *mut c_void = std::ptr::null_mut();
        // SAFETY: the place for the address is ours
        unsafe { sys::cuMemHostAlloc(&raw mut bytes, len.max(1), 0) }.result()?;
        let bytes = bytes.cast();
        // SAFETY: so many bytes stand there; they become numbers before anybody looks at them
        unsafe { std::ptr::write_bytes(bytes, 0, len) };
        Ok(Pinned { device: gpu.device().clone(), bytes, len, read })
    }

    /// The bytes, once the GPU has read what was sent last.
    pub fn bytes(&mut self) -> Result<&mut [u8], CudaError> {
        self.read.wait()?;
        // SAFETY: so many bytes are ours, and the GPU is through with them
        Ok(unsafe { std::slice::from_raw_parts_mut(self.bytes, self.len) })
    }

    /// Starts to copy the first `len` bytes into `to` on a stream, and gives what the copy's end can be known by; the bytes must not be
    /// touched but through [`Pinned::bytes`].
    pub(super) fn send(
        &mut self,
        gpu: &Gpu,
        stream: sys::CUstream,
        len: usize,
        to: &mut Memory,
    ) -> Result<&Event, CudaError> {
        let room = to.len() * to.kind().size();
        assert!(len <= self.len && len <= room, "{len} bytes to and from places of their size");
        gpu.bind()?;
        let to = to.any_mut().pointer();
        // SAFETY: both places are as large; this one outlives the copy, which its end and `bytes` wait for
        let started = unsafe { sys::cuMemcpyHtoDAsync_v2(to, self.bytes.cast(), len, stream) };
        judged("a copy", started.result())?;
        if let Err(error) = self.read.record(stream) {
            // nobody could know of the copy's end later on
            // SAFETY: the stream is the GPU's
            let _ = unsafe { sys::cuStreamSynchronize(stream) }.result();
            return Err(error);
        }
        Ok(&self.read)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // what fails here has failed before, and been told
        let _ = self.device.bind_to_thread();
        let _ = self.read.wait();
        // SAFETY: the memory is this one's own, and no copy reads on
        let _ = unsafe { sys::cuMemFreeHost(self.bytes.cast()) }.result();
    }
}

/// Two buffers in turn: one is filled while the GPU reads the other.
#[derive(Default)]
pub(super) struct Pair {
    buffers: [Option<Pinned>; 2],
    turn: usize,
}

impl Pair {
    /// A buffer whose first bytes, so many, `fill` has written.
    pub fn filled(
        &mut self,
        gpu: &Gpu,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<&mut Pinned, CudaError> {
        let buffer = &mut self.buffers[self.turn];
        self.turn = 1 - self.turn;
        let pinned = match buffer.take().filter(|pinned| pinned.len >= len) {
            Some(pinned) => pinned,
            None => Pinned::new(gpu, with_slack(len))?,
        };
        let pinned = buffer.insert(pinned);
        fill(&mut pinned.bytes()?[..len]);
        Ok(pinned)
    }
}

/// A quarter more bytes than are asked for: pictures are larger now and then.
pub(super) fn with_slack(len: usize) -> usize {
    len + len / 4
}
