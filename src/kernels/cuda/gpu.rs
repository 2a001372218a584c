//! The open GPU: its memory, its kernels, its library of products. A process has one.

mod functions;
mod lists;
mod open;
mod pool;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use cudarc::driver::{CudaDevice, result, sys};
use dfdx::prelude::{Cuda, CudaError, Storage};

use super::clock::Clock;
use super::failure::judged;
use super::image;
use super::kept::Kept;
use super::matrix::Library;
use super::scratch::Memory;
use super::stream::Stream;
use super::view::Kind;
use crate::tensor::cuda::seam_holds;
use functions::Function;
use lists::Lists;
pub use open::{OpenError, count, memory, open};
use pool::keep_freed_memory;

/// What all kernels are started on.
pub struct Gpu {
    /// dfdx's device, to be lent again.
    own: Cuda,
    /// cudarc's within it.
    device: Arc<CudaDevice>,
    /// The major number of the card's compute capability.
    generation: i32,
    /// Where pictures are copied beside the kernels.
    copies: Stream,
    modules: Vec<sys::CUmodule>,
    functions: RwLock<HashMap<&'static str, Function>>,
    library: Mutex<Library>,
    kept: Mutex<Kept>,
    clock: Clock,
    lists: Mutex<Lists>,
    tf32: std::sync::atomic::AtomicBool,
}

// SAFETY: modules and functions are the driver's, which any thread may use once the context is its current one (`bind`)
unsafe impl Send for Gpu {}
// SAFETY: as above
unsafe impl Sync for Gpu {}

impl Gpu {
    fn new(own: &Cuda) -> Result<Gpu, OpenError> {
        let unknown = |cause: CudaError| OpenError::Driver(cause.to_string());
        // dfdx keeps its device to itself; a buffer of its tells
        let device = Storage::<f32>::try_alloc_len(own, 0).map_err(unknown)?.device();
        let ordinal = device.ordinal();
        let refused = |cause: CudaError| OpenError::Refused { ordinal, cause: cause.to_string() };
        device.bind_to_thread().map_err(|e| refused(e.into()))?;
        let generation = image::capability(&device).map_err(|e| refused(e.into()))?.0;
        keep_freed_memory(&device).map_err(|e| refused(e.into()))?;
        let modules = image::load_all(&device)?;
        let library = Mutex::new(Library::new(&device).map_err(refused)?);
        let copies = Stream::new(&device).map_err(refused)?;
        let gpu = Gpu {
            own: own.clone(),
            device,
            generation,
            copies,
            modules,
            functions: RwLock::default(),
            library,
            kept: Mutex::default(),
            clock: Clock::default(),
            lists: Mutex::default(),
            tf32: false.into(),
        };
        match seam_holds(own, &gpu).map_err(refused)? {
            true => Ok(gpu),
            false => Err(OpenError::Seam),
        }
    }

    pub fn ordinal(&self) -> usize {
        self.device.ordinal()
    }

    /// The major number of the card's compute capability: 7 for Turing, 8 for Ampere and Ada, 9 for Hopper.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// cudarc's device, which is dfdx's.
    pub fn device(&self) -> &Arc<CudaDevice> {
        &self.device
    }

    /// The stream that all kernels run on in order: dfdx's, the driver's own.
    pub fn stream(&self) -> sys::CUstream {
        *self.device.cu_stream()
    }

    /// A stream beside it, for copies that need not wait for all kernels.
    pub(super) fn copies(&self) -> &Stream {
        &self.copies
    }

    /// Makes the GPU this thread's.
    pub fn bind(&self) -> Result<(), CudaError> {
        Ok(self.device.bind_to_thread()?)
    }

    /// Waits until all kernels that were started have come to their end.
    pub fn wait(&self) -> Result<(), CudaError> {
        self.bind()?;
        judged("a wait for its work", self.device.synchronize())
    }

    /// What the maker calls the card.
    pub fn name(&self) -> Option<String> {
        let mut name = [0u8; 128];
        // SAFETY: the call writes at most so many bytes, with a 0 at their end
        let known = unsafe {
            sys::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32, *self.device.cu_device())
        };
        known.result().ok()?;
        Some(std::ffi::CStr::from_bytes_until_nul(&name).ok()?.to_string_lossy().into_owned())
    }

    /// Free and whole memory in bytes.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.bind()?;
        Ok(result::mem_get_info()?)
    }

    /// Whether f32 factors of products may be rounded to 10 bits of mantissa, for tensor cores.
    pub fn tf32(&self) -> bool {
        self.tf32.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub fn allow_tf32(&self, allowed: bool) {
        self.tf32.store(allowed, std::sync::atomic::Ordering::Relaxed);
    }

    /// Room for so many numbers, which are any.
    pub fn unwritten(&self, kind: Kind, len: usize) -> Result<Memory, CudaError> {
        Memory::unwritten(&self.device, kind, len)
    }

    /// So many zeros.
    pub fn zeros(&self, kind: Kind, len: usize) -> Result<Memory, CudaError> {
        Memory::zeros(&self.device, kind, len)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Lends what is kept of weights.
    pub(crate) fn with_kept<R>(&self, work: impl FnOnce(&mut Kept) -> R) -> R {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lends the library of products.
    pub(super) fn with_library<R>(&self, work: impl FnOnce(&mut Library) -> R) -> R {
        work(&mut self.library.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Copies numbers to the host, once all that was started before is done.
    pub fn read(&self, from: super::view::View<'_>) -> Result<Vec<f32>, CudaError> {
        let mut values = vec![0.0; from.len()];
        if !values.is_empty() {
            self.bind()?;
            // SAFETY: the view's numbers stand there, and the copy ends before `values` is looked at
            judged("a read", unsafe { result::memcpy_dtoh_sync(&mut values, from.pointer()) })?;
        }
        Ok(values)
    }

    /// Copies numbers from the host.
    pub fn write(&self, to: super::view::ViewMut<'_>, values: &[f32]) -> Result<(), CudaError> {
        assert_eq!(to.len(), values.len(), "numbers to a place of their size");
        if !values.is_empty() {
            self.bind()?;
            // SAFETY: the view's numbers stand there; the driver's own stream makes the copy wait for its turn
            judged("a write", unsafe { result::memcpy_htod_sync(to.pointer(), values) })?;
        }
        Ok(())
    }
}

/// The driver's word for an error, and what it means.
pub(super) fn words(error: result::DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    // cudarc asks the driver once more for its own text, and takes no for impossible
    text.unwrap_or_else(|_| format!("{:?}", error.0))
}
