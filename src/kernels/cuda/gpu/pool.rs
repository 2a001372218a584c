//! The pool that the GPU's memory is taken from.

use std::ffi::c_void;

use cudarc::driver::{CudaDevice, result, sys};
use dfdx::prelude::CudaError;

use super::Gpu;

impl Gpu {
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
pub(super) fn keep_freed_memory(device: &CudaDevice) -> Result<(), result::DriverError> {
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
