//! The GPU's places for pictures, which stay where they are from batch to batch.
//!
//! Copies go there on a stream of their own while kernels make a step of the pictures before. So each side waits for the other: a copy for
//! the kernels that read what stood in its place, two batches ago, and the kernels for the copy. Kernels are told to wait as soon as a copy is
//! started; and a place is lent as a value that, when it is let go, marks where the kernels that were started until then have come to, and
//! that is the only way back to the next copy. Memory is taken and freed in the order of kernels, who have waited for all copies.

use std::sync::{Arc, Mutex, PoisonError};

use dfdx::prelude::CudaError;

use super::pinned::{Pinned, with_slack};
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::scratch::Memory;
use crate::kernels::cuda::stream::Event;
use crate::kernels::cuda::view::Kind;

/// A place that pictures are copied to.
struct Landing {
    memory: Memory,
    /// Kernels are through with what stood there.
    free: Event,
}

impl Landing {
    fn new(gpu: &Gpu, len: usize) -> Result<Landing, CudaError> {
        let free = Event::new(gpu)?;
        let memory = gpu.unwritten(Kind::F32, with_slack(len).div_ceil(4))?;
        // it is there when the kernels come to this point
        free.record_among_kernels()?;
        Ok(Landing { memory, free })
    }

    fn bytes(&self) -> usize {
        self.memory.len() * self.memory.kind().size()
    }

    /// Starts a copy, and has kernels wait for it.
    fn receive(&mut self, gpu: &Gpu, pinned: &mut Pinned, len: usize) -> Result<(), CudaError> {
        self.free.hold(gpu.copies().raw())?;
        let copied = pinned.send(gpu, gpu.copies().raw(), len, &mut self.memory)?;
        copied.hold(gpu.stream())
    }
}

/// Where a place stands that nobody works on.
type Home = Arc<Mutex<Option<Landing>>>;

/// A place with pictures in it, for as long as this lives.
pub struct Landed {
    /// Nothing once it was let go.
    landing: Option<Landing>,
    home: Home,
}

impl Landed {
    pub fn pointer(&self) -> u64 {
        self.landing.as_ref().map_or(0, |landing| landing.memory.any().pointer())
    }
}

impl Drop for Landed {
    fn drop(&mut self) {
        let Some(landing) = self.landing.take() else { return };
        // one that can't be marked is freed instead, which happens in the order of kernels
        if landing.free.record_among_kernels().is_ok() {
            *self.home.lock().unwrap_or_else(PoisonError::into_inner) = Some(landing);
        }
    }
}

/// Two places in turn: one is copied to while kernels read the other.
#[derive(Default)]
pub struct Landings {
    homes: [Home; 2],
    turn: usize,
}

impl Landings {
    /// Copies the first `len` bytes to the next place. One that is too small, or still lent, gives way to another.
    pub fn send(&mut self, gpu: &Gpu, pinned: &mut Pinned, len: usize) -> Result<Landed, CudaError> {
        let home = self.homes[self.turn].clone();
        self.turn = 1 - self.turn;
        let free = home.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut landing = match free.filter(|landing| landing.bytes() >= len) {
            Some(landing) => landing,
            None => Landing::new(gpu, len)?,
        };
        if let Err(error) = landing.receive(gpu, pinned, len) {
            // kernels may not have been told to wait, in whose order the memory is freed now
            let _ = gpu.copies().wait();
            return Err(error);
        }
        Ok(Landed { landing: Some(landing), home })
    }
}
