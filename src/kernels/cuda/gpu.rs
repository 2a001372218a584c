//! The open GPU: its memory, its kernels, its library of products. A process has one.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use cudarc::driver::{CudaDevice, CudaSlice, DevicePtr, result, sys};
use dfdx::prelude::{Cuda, CudaError, Storage};

use super::failure::judged;
use super::image::{self, CompileError};
use super::kept::Kept;
use super::launch::RowsArgument;
use super::matrix::Library;
use super::scratch::Memory;
use super::view::Kind;
use crate::kernels::Rows;

/// Shared memory beyond which a kernel must say beforehand how much it takes.
const USUAL_SHARED: u32 = 48 << 10;

/// Lists of images that stay in the GPU's memory before older ones make room: some steps' worth.
const LISTS: usize = 512;

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

/// What all kernels are started on.
pub struct Gpu {
    /// dfdx's device, to be lent again.
    own: Cuda,
    /// cudarc's within it.
    device: Arc<CudaDevice>,
    /// The major number of the card's compute capability.
    generation: i32,
    modules: Vec<sys::CUmodule>,
    functions: RwLock<HashMap<&'static str, Function>>,
    library: Mutex<Library>,
    kept: Mutex<Kept>,
    lists: Mutex<Lists>,
    tf32: std::sync::atomic::AtomicBool,
}

// SAFETY: modules and functions are the driver's, which any thread may use once the context is its current one (`bind`)
unsafe impl Send for Gpu {}
// SAFETY: as above
unsafe impl Sync for Gpu {}

/// Lists of images in the GPU's memory: those that came lately, and as many that came before them.
#[derive(Default)]
struct Lists {
    lately: HashMap<Vec<usize>, Arc<CudaSlice<i32>>>,
    before: HashMap<Vec<usize>, Arc<CudaSlice<i32>>>,
}

impl Lists {
    fn get(&self, images: &[usize]) -> Option<&Arc<CudaSlice<i32>>> {
        self.lately.get(images).or_else(|| self.before.get(images))
    }

    fn keep(&mut self, images: Vec<usize>, list: &Arc<CudaSlice<i32>>) {
        if self.lately.len() >= LISTS {
            // what goes is freed in the order of the stream, and was asked for long before
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(images, list.clone());
    }
}

#[derive(Clone, Copy)]
struct Function {
    function: sys::CUfunction,
    /// The most dynamic shared memory that was announced.
    shared: u32,
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
        Ok(Gpu {
            own: own.clone(),
            device,
            generation,
            modules,
            functions: RwLock::default(),
            library,
            kept: Mutex::default(),
            lists: Mutex::default(),
            tf32: false.into(),
        })
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

    /// The stream that everything runs on in order: dfdx's, the driver's own.
    pub fn stream(&self) -> sys::CUstream {
        *self.device.cu_stream()
    }

    /// Makes the GPU this thread's.
    pub fn bind(&self) -> Result<(), CudaError> {
        Ok(self.device.bind_to_thread()?)
    }

    /// Waits until all that was started has come to its end.
    pub fn wait(&self) -> Result<(), CudaError> {
        self.bind()?;
        judged("a wait for its work", self.device.synchronize())
    }

    /// Free and whole memory in bytes.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.bind()?;
        Ok(result::mem_get_info()?)
    }

    /// The most bytes that were allocated at once since [`Gpu::forget_peak`].
    pub fn peak(&self) -> Result<u64, CudaError> {
        let Some(pool) = pool(&self.device)? else { return Ok(0) };
        let mut bytes = 0u64;
        let place: *mut c_void = std::ptr::from_mut(&mut bytes).cast();
        let attribute = sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        // SAFETY: the attribute is a 64-bit number, and the pool is the device's own
        unsafe { sys::cuMemPoolGetAttribute(pool, attribute, place) }.result()?;
        Ok(bytes)
    }

    /// Lets the peak be what is allocated now.
    pub fn forget_peak(&self) -> Result<(), CudaError> {
        let Some(pool) = pool(&self.device)? else { return Ok(()) };
        Ok(set(pool, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0)?)
    }

    /// Streaming multiprocessors: how many blocks it takes to give each something to do.
    pub fn multiprocessors(&self) -> usize {
        let many = sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        self.device.attribute(many).map_or(1, |count| count.max(1) as usize)
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

    /// A kernel by name, ready to be started with so much dynamic shared memory.
    pub(super) fn function(&self, name: &'static str, shared: u32) -> Result<sys::CUfunction, CudaError> {
        let known = self.functions.read().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        if let Some(known) = known.filter(|known| shared <= known.shared) {
            return Ok(known.function);
        }
        // held until the size is announced and noted: another thread's smaller one must not come between
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        let known = functions.get(name).copied();
        if let Some(known) = known.filter(|known| shared <= known.shared) {
            return Ok(known.function);
        }
        let function = match known {
            Some(known) => known.function,
            None => self.find(name)?,
        };
        self.bind()?;
        if shared > USUAL_SHARED {
            let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is one of a module that stays loaded
            unsafe { sys::cuFuncSetAttribute(function, most, shared as i32) }.result()?;
        }
        let entry = Function { function, shared: shared.max(USUAL_SHARED) };
        functions.insert(name, entry);
        Ok(function)
    }

    fn find(&self, name: &str) -> Result<sys::CUfunction, CudaError> {
        let not_found = || CudaError::Driver(result::DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND));
        let text = CString::new(name).map_err(|_| not_found())?;
        self.bind()?;
        let found = self.modules.iter().find_map(|module| {
            // SAFETY: the module stays loaded for as long as the process lives
            unsafe { result::module::get_function(*module, text.clone()) }.ok()
        });
        found.ok_or_else(not_found)
    }

    /// Lends what is kept of weights.
    pub(super) fn with_kept<R>(&self, work: impl FnOnce(&mut Kept) -> R) -> R {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets go what was made of a tensor whose numbers are about to change.
    pub fn forget(tensor: u64) {
        if let Some(gpu) = OPEN.get() {
            gpu.with_kept(|kept| kept.forget(tensor));
        }
    }

    /// Lends the library of products.
    pub(super) fn with_library<R>(&self, work: impl FnOnce(&mut Library) -> R) -> R {
        work(&mut self.library.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rows as kernels take them. The list of images stays where it is until many others have come.
    pub fn rows(&self, rows: Rows<'_>) -> Result<RowsArgument, CudaError> {
        let count = rows.len() as i32;
        Ok(match rows {
            Rows::All(_) => RowsArgument { images: 0, each: 1, first: 0, apart: 1, count },
            Rows::Every { first, apart, .. } => {
                RowsArgument { images: 0, each: 1, first: first as i32, apart: apart as i32, count }
            }
            Rows::Of { images, each } => {
                let images = if images.is_empty() { 0 } else { *self.list(images)?.device_ptr() };
                RowsArgument { images, each: each as i32, first: 0, apart: 1, count }
            }
        })
    }

    fn list(&self, images: &[usize]) -> Result<Arc<CudaSlice<i32>>, CudaError> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists.get(images) {
            return Ok(list.clone());
        }
        let numbers: Vec<i32> = images.iter().map(|&image| image as i32).collect();
        // the numbers stay with the copy, so that nobody waits for it
        let list = Arc::new(self.device.htod_copy(numbers)?);
        lists.keep(images.to_vec(), &list);
        Ok(list)
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

/// The pool that the device allocates from, where it has one.
fn pool(device: &CudaDevice) -> Result<Option<sys::CUmemoryPool>, result::DriverError> {
    let pools = sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
    if device.attribute(pools)? == 0 {
        return Ok(None);
    }
    let mut pool = std::mem::MaybeUninit::uninit();
    // SAFETY: the call writes the pool, which is the device's own
    unsafe {
        sys::cuDeviceGetDefaultMemPool(pool.as_mut_ptr(), *device.cu_device()).result()?;
        Ok(Some(pool.assume_init()))
    }
}

/// What is freed stays with the process: the next step allocates the same again, and a return to the system would cost
/// milliseconds at every wait.
fn keep_freed_memory(device: &CudaDevice) -> Result<(), result::DriverError> {
    let Some(pool) = pool(device)? else { return Ok(()) };
    let attribute = sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    set(pool, attribute, u64::MAX)
}

fn set(
    pool: sys::CUmemoryPool,
    attribute: sys::CUmemPool_attribute,
    mut value: u64,
) -> Result<(), result::DriverError> {
    let place: *mut c_void = std::ptr::from_mut(&mut value).cast();
    // SAFETY: these attributes are 64-bit numbers, and the pool is a device's own
    unsafe { sys::cuMemPoolSetAttribute(pool, attribute, place) }.result()
}

/// The driver's word for an error, and what it means.
pub(super) fn words(error: result::DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| format!("{error:?}"))
}
