//! Kernels by name.

use std::ffi::CString;
use std::sync::PoisonError;

use cudarc::driver::{result, sys};
use dfdx::prelude::CudaError;

use super::Gpu;

/// Shared memory beyond which a kernel must say beforehand how much it takes.
const USUAL_SHARED: u32 = 48 << 10;

/// Shared memory from which on a kernel asks for as much of the memory that it shares with the cache as there is: several blocks of it
/// are to run at once.
const MUCH_SHARED: u32 = 32 << 10;

#[derive(Clone, Copy)]
pub(super) struct Function {
    function: sys::CUfunction,
    /// The most dynamic shared memory that was announced.
    shared: u32,
}

impl Gpu {
    /// A kernel by name, ready to be started with so much dynamic shared memory.
    pub(in crate::kernels::cuda) fn function(
        &self,
        name: &'static str,
        shared: u32,
    ) -> Result<sys::CUfunction, CudaError> {
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
        if shared >= MUCH_SHARED {
            let share = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
            // SAFETY: as above. It is a hint in percent
            unsafe { sys::cuFuncSetAttribute(function, share, 100) }.result()?;
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
}
