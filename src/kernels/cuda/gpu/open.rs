//! Finding and opening GPUs.

use std::sync::{Mutex, OnceLock, PoisonError};

use cudarc::driver::{result, sys};
use dfdx::prelude::{Cuda, CudaError};

use super::super::image::CompileError;
use super::{Gpu, words};

/// Why a GPU can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("there is no working NVIDIA driver ({0})")]
    Driver(String),
    #[error(
        "the driver is of CUDA {driver} and this program's libraries are of CUDA {library}: a newer driver is needed"
    )]
    Outdated { driver: String, library: String },
    #[error("there is no NVIDIA GPU that the driver shows")]
    NoDevice,
    #[error("there is no GPU {asked}: the driver shows {}", shown(*.found))]
    NoSuchDevice { asked: usize, found: usize },
    #[error(
        "this program's dfdx says in another form where a tensor's numbers are: it was built with a version that it does not know"
    )]
    Seam,
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("GPU {ordinal} can't be opened: {cause}")]
    Refused { ordinal: usize, cause: String },
    #[error("GPU {open} is in use by this process, which works on one only; GPU {asked} is another")]
    Another { open: usize, asked: usize },
}

fn shown(found: usize) -> String {
    if found == 1 { "one, number 0".into() } else { format!("{found}, numbers 0 to {}", found - 1) }
}

static OPEN: OnceLock<Gpu> = OnceLock::new();
/// Held while the GPU is opened, so that only one thread does.
static OPENING: Mutex<()> = Mutex::new(());

/// How many GPUs the driver shows.
///
/// # Errors
/// [`OpenError::Driver`] where there is no working driver.
pub fn count() -> Result<usize, OpenError> {
    let driver = |e: result::DriverError| OpenError::Driver(words(e));
    match result::init() {
        // a driver that has nothing to drive says so when it is started
        Err(e) if e.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => return Ok(0),
        started => started.map_err(driver)?,
    }
    Ok(result::device::get_count().map_err(driver)?.max(0) as usize)
}

/// Bytes of a GPU's memory; it need not be open.
///
/// # Errors
/// As [`count`], and where there is no such GPU.
pub fn memory(ordinal: usize) -> Result<usize, OpenError> {
    let found = count()?;
    if ordinal >= found {
        return Err(OpenError::NoSuchDevice { asked: ordinal, found });
    }
    let refused = |e: result::DriverError| OpenError::Refused { ordinal, cause: words(e) };
    let device = result::device::get(ordinal as i32).map_err(refused)?;
    // SAFETY: the driver gave the device just now
    unsafe { result::device::total_mem(device) }.map_err(refused)
}

/// Opens the GPU of this ordinal, or lends it once more.
///
/// # Errors
/// Every [`OpenError`].
pub fn open(ordinal: usize) -> Result<Cuda, OpenError> {
    let found = count()?;
    if found == 0 {
        return Err(OpenError::NoDevice);
    }
    if ordinal >= found {
        return Err(OpenError::NoSuchDevice { asked: ordinal, found });
    }
    let _one = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = OPEN.get() {
        return match gpu.ordinal() == ordinal {
            true => Ok(gpu.own.clone()),
            false => Err(OpenError::Another { open: gpu.ordinal(), asked: ordinal }),
        };
    }
    recent_enough()?;
    let refused = |cause: CudaError| OpenError::Refused { ordinal, cause: cause.to_string() };
    let device = Cuda::try_build(ordinal, 0).map_err(refused)?;
    let gpu = Gpu::new(&device)?;
    Ok(OPEN.get_or_init(|| gpu).own.clone())
}

/// Libraries of a later CUDA than the driver's fail at their first call, and don't say why.
fn recent_enough() -> Result<(), OpenError> {
    let mut driver = 0;
    // SAFETY: the calls write and return a number each
    let library = unsafe {
        let known = sys::cuDriverGetVersion(&mut driver);
        known.result().map_err(|e| OpenError::Driver(words(e)))?;
        cudarc::cublaslt::sys::cublasLtGetCudartVersion() as i32
    };
    let major = |version: i32| version / 1000;
    match major(library) > major(driver) {
        true => Err(OpenError::Outdated { driver: version(driver), library: version(library) }),
        false => Ok(()),
    }
}

/// 13020 is 13.2.
fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

impl Gpu {
    /// The open GPU, which this device is on.
    ///
    /// # Errors
    /// When a device that was not made by [`open`] can't be used.
    pub fn of(device: &Cuda) -> Result<&'static Gpu, CudaError> {
        if let Some(gpu) = OPEN.get() {
            return Ok(gpu);
        }
        let _one = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gpu) = OPEN.get() {
            return Ok(gpu);
        }
        let invalid =
            |_: OpenError| CudaError::Driver(result::DriverError(sys::CUresult::CUDA_ERROR_INVALID_IMAGE));
        let gpu = Gpu::new(device).map_err(invalid)?;
        Ok(OPEN.get_or_init(|| gpu))
    }

    /// Lets go what was made of a tensor whose numbers are about to change.
    pub fn forget(tensor: u64) {
        if let Some(gpu) = OPEN.get() {
            gpu.with_kept(|kept| kept.forget(tensor));
        }
    }
}
