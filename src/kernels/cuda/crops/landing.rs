//! The GPU's places for pictures, which stay where they are from batch to batch.
//!
//! Copies go there on a stream of their own while kernels work on the pictures before. So each side waits for the other: a copy for the kernels
//! that read what stood in its place, and kernels for the copy, from the moment on that they are told where the pictures are. A place is
//! lent as a value that, when it is let go, marks where the kernels that were started until then have come to, and that is the only way
//! back to another copy. Memory is taken and freed in the order of kernels.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dfdx::prelude::CudaError;

use super::pinned::{Pinned, with_slack};
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::scratch::Memory;
use crate::kernels::cuda::stream::Event;
use crate::kernels::cuda::view::Kind;

/// Places that are free before one of them is taken: the one that came back last is still read from.
const SPARE: usize = 2;

/// A place that pictures are copied to.
struct Landing {
    memory: Memory,
    /// The copy has come.
    copied: Event,
    /// Kernels are through with what stood there.
    free: Event,
}

impl Landing {
    fn new(gpu: &Gpu, len: usize) -> Result<Landing, CudaError> {
        let (copied, free) = (Event::new(gpu)?, Event::new(gpu)?);
        let memory = gpu.unwritten(Kind::F32, with_slack(len).div_ceil(4))?;
        // it is there when the kernels come to this point
        free.record_among_kernels()?;
        Ok(Landing { memory, copied, free })
    }

    fn bytes(&self) -> usize {
        self.memory.len() * self.memory.kind().size()
    }

    /// Starts a copy.
    fn receive(&mut self, gpu: &Gpu, pinned: &mut Pinned, len: usize) -> Result<(), CudaError> {
        self.free.hold(gpu.copies().raw())?;
        pinned.send(gpu, gpu.copies().raw(), len, &mut self.memory)?;
        self.copied.record(gpu.copies().raw())
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        // the memory is freed in the order of kernels, who may not have been told to wait for the copy
        if self.copied.hold_kernels().is_err() {
            let _ = self.copied.wait();
        }
    }
}

/// Places that nobody works on, the one that has been free for longest first.
type Home = Arc<Mutex<VecDeque<Landing>>>;

/// A place with pictures in it, for as long as this lives.
pub struct Landed {
    /// Nothing once it was let go.
    landing: Option<Landing>,
    home: Home,
}

impl Landed {
    /// Where the pictures are, for kernels that are started from now on: these wait for the copy.
    pub fn pointer(&self) -> Result<u64, CudaError> {
        let Some(landing) = &self.landing else { return Ok(0) };
        landing.copied.hold_kernels()?;
        Ok(landing.memory.any().pointer())
    }
}

impl Drop for Landed {
    fn drop(&mut self) {
        let Some(landing) = self.landing.take() else { return };
        // one that can't be marked is freed instead
        if landing.free.record_among_kernels().is_ok() {
            self.home.lock().unwrap_or_else(PoisonError::into_inner).push_back(landing);
        }
    }
}

/// As many places as are lent at once, and one more: that one is copied to while kernels read the others.
#[derive(Default)]
pub struct Landings(Home);

impl Landings {
    /// Copies the first `len` bytes to a place that is free. One that is too small gives way to another.
    pub fn send(&mut self, gpu: &Gpu, pinned: &mut Pinned, len: usize) -> Result<Landed, CudaError> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = if free.len() >= SPARE { free.pop_front() } else { None };
        drop(free);
        let mut landing = match longest.filter(|landing| landing.bytes() >= len) {
            Some(landing) => landing,
            None => Landing::new(gpu, len)?,
        };
        if let Err(error) = landing.receive(gpu, pinned, len) {
            // the copy may run, and nobody could know of its end
            let _ = gpu.copies().wait();
            return Err(error);
        }
        Ok(Landed { landing: Some(landing), home: self.0.clone() })
    }
}
