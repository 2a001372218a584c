//! A stream beside the one that all kernels run on, and the events by which one waits for the other.

use std::sync::Arc;

use cudarc::driver::{CudaDevice, result, sys};
use dfdx::prelude::CudaError;

use super::failure::judged;
use super::gpu::Gpu;

/// A stream that the driver's own does not wait for, nor it for that one: whoever uses it sees to both.
pub struct Stream {
    device: Arc<CudaDevice>,
    stream: sys::CUstream,
}

// SAFETY: a stream is the driver's, which any thread may use once the context is its current one
unsafe impl Send for Stream {}
// SAFETY: as above
unsafe impl Sync for Stream {}

impl Stream {
    pub fn new(device: &Arc<CudaDevice>) -> Result<Stream, CudaError> {
        device.bind_to_thread()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        Ok(Stream { device: device.clone(), stream })
    }

    pub fn raw(&self) -> sys::CUstream {
        self.stream
    }

    /// Waits until all that was started there has come to its end.
    pub fn wait(&self) -> Result<(), CudaError> {
        self.device.bind_to_thread()?;
        // SAFETY: the stream lives as long as this does
        judged("a wait for copies", unsafe { result::stream::synchronize(self.stream) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // what fails here has failed before, and been told
        let _ = self.device.bind_to_thread();
        // SAFETY: the stream is this one's own, and the driver ends what was started there first
        let _ = unsafe { result::stream::destroy(self.stream) };
    }
}

/// A point in a stream's work, which others wait for. One that was never recorded is nothing to wait for.
pub struct Event {
    device: Arc<CudaDevice>,
    event: sys::CUevent,
}

// SAFETY: an event is the driver's, which any thread may use once the context is its current one
unsafe impl Send for Event {}
// SAFETY: as above
unsafe impl Sync for Event {}

impl Event {
    pub fn new(gpu: &Gpu) -> Result<Event, CudaError> {
        gpu.bind()?;
        let mut event: sys::CUevent = std::ptr::null_mut();
        let sleep = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32;
        let plain = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: the place for the event is ours
        unsafe { sys::cuEventCreate(&raw mut event, sleep | plain) }.result()?;
        Ok(Event { device: gpu.device().clone(), event })
    }

    /// From now on it is the point that a stream's work ends at now.
    pub fn record(&self, stream: sys::CUstream) -> Result<(), CudaError> {
        self.device.bind_to_thread()?;
        // SAFETY: the event lives as long as this does, and streams of a GPU as long as the GPU
        judged("a mark", unsafe { result::event::record(self.event, stream) })
    }

    /// The same, on the stream that all kernels run on.
    pub fn record_among_kernels(&self) -> Result<(), CudaError> {
        self.record(*self.device.cu_stream())
    }

    /// What a stream is told from now on waits for it; the host does not.
    pub fn hold(&self, stream: sys::CUstream) -> Result<(), CudaError> {
        self.device.bind_to_thread()?;
        let plain = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: as above
        judged("a wait of a stream's", unsafe { result::stream::wait_event(stream, self.event, plain) })
    }

    /// The same, of the stream that all kernels run on.
    pub fn hold_kernels(&self) -> Result<(), CudaError> {
        self.hold(*self.device.cu_stream())
    }

    /// Waits for it.
    pub fn wait(&self) -> Result<(), CudaError> {
        self.device.bind_to_thread()?;
        // SAFETY: as above
        judged("a wait for a copy", unsafe { sys::cuEventSynchronize(self.event) }.result())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // what fails here has failed before, and been told
        let _ = self.device.bind_to_thread();
        // SAFETY: the event is this one's own; who was told to wait for it goes on to
        let _ = unsafe { result::event::destroy(self.event) };
    }
}
