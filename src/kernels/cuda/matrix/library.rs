//! NVIDIA's library, and what it has planned.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::CudaDevice;
use cudarc::driver::sys::CUstream;
use dfdx::prelude::CudaError;

use super::super::failure::judged;
use super::super::scratch::Memory;
use super::super::view::Kind;

/// Memory that the library may use while it works.
const WORKSPACE: usize = 32 << 20;

/// What a product's plan depends on; a is the library's first factor (our b).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Rows, columns, depth of the library's product.
    pub shape: [usize; 3],
    pub widths: [usize; 3],
    pub transposed: [bool; 2],
    pub kinds: [Kind; 3],
    pub bias: bool,
    pub tf32: bool,
    /// Of a, b, c and d, in bytes.
    pub alignment: [u32; 4],
}

/// Where a product's numbers stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointers {
    /// In the precision of d; 0 where there is none.
    pub bias: u64,
    /// a, b, what is added (c), and d.
    pub factors: [u64; 4],
}

/// How the library does one product.
struct Planned {
    descriptor: sys::cublasLtMatmulDesc_t,
    /// Of a, b and d, which c shares.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The library, with what it has planned so far.
pub struct Library {
    handle: sys::cublasLtHandle_t,
    workspace: Memory,
    /// Nothing for what it can't do.
    planned: HashMap<Key, Option<Planned>>,
}

// SAFETY: the library's handles may be used by one thread after the other
unsafe impl Send for Library {}

impl Library {
    pub fn new(device: &Arc<CudaDevice>) -> Result<Library, CudaError> {
        let handle = result::create_handle().map_err(refused)?;
        let workspace = Memory::unwritten(device, Kind::F32, WORKSPACE / 4)?;
        Ok(Library { handle, workspace, planned: HashMap::new() })
    }

    /// d = scale · a b + keep · c + bias; false, and nothing done, where the library can't.
    pub(super) fn multiply(
        &mut self,
        stream: CUstream,
        key: &Key,
        pointers: Pointers,
        (scale, keep): (f32, f32),
    ) -> Result<bool, CudaError> {
        if !self.planned.contains_key(key) {
            let planned = match plan(self.handle, key) {
                Ok(planned) => Some(planned),
                Err(error) if error.0 == sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED => None,
                Err(error) => return Err(refused(error)),
            };
            self.planned.insert(key.clone(), planned);
        }
        let Some(planned) = &self.planned[key] else { return Ok(false) };
        let workspace = self.workspace.any().pointer();
        // SAFETY: the layouts were made for matrices of this shape, which lie within their views (`product`)
        let started = unsafe { planned.start(self.handle, workspace, stream, pointers, (scale, keep)) };
        match started {
            Err(error) if error.0 == sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED => {
                self.planned.insert(key.clone(), None);
                Ok(false)
            }
            started => judged("a product of matrices", started.map_err(refused)).map(|()| true),
        }
    }
}

impl Planned {
    /// # Safety
    /// The pointers must be those of matrices with these layouts, the workspace as large as was planned for.
    unsafe fn start(
        &self,
        handle: sys::cublasLtHandle_t,
        workspace: u64,
        stream: CUstream,
        Pointers { bias, factors: [a, b, c, d] }: Pointers,
        (scale, keep): (f32, f32),
    ) -> Result<(), result::CublasError> {
        let [a_layout, b_layout, d_layout] = self.layouts;
        let place = |pointer: u64| pointer as *const c_void;
        let number = |value: &f32| std::ptr::from_ref(value).cast();
        // SAFETY: the caller vouches for the matrices; descriptor, layouts and algorithm are the plan's own
        unsafe {
            if bias != 0 {
                let pointer = std::ptr::from_ref(&bias).cast();
                let what = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
                result::set_matmul_desc_attribute(self.descriptor, what, pointer, 8)?;
            }
            result::matmul(
                handle,
                self.descriptor,
                number(&scale),
                number(&keep),
                place(a),
                a_layout,
                place(b),
                b_layout,
                place(c),
                d_layout,
                d as *mut c_void,
                d_layout,
                &self.algorithm,
                workspace as *mut c_void,
                WORKSPACE,
                stream.cast(),
            )
        }
    }
}

/// The library's errors as those of dfdx's device, which has the same library's older face.
fn refused(error: result::CublasError) -> CudaError {
    use cudarc::cublas::sys::cublasStatus_t as Status;
    let status = match error.0 {
        sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => Status::CUBLAS_STATUS_ALLOC_FAILED,
        sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED => Status::CUBLAS_STATUS_NOT_SUPPORTED,
        sys::cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE => Status::CUBLAS_STATUS_INVALID_VALUE,
        sys::cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED => Status::CUBLAS_STATUS_NOT_INITIALIZED,
        sys::cublasStatus_t::CUBLAS_STATUS_ARCH_MISMATCH => Status::CUBLAS_STATUS_ARCH_MISMATCH,
        sys::cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED => Status::CUBLAS_STATUS_EXECUTION_FAILED,
        _ => Status::CUBLAS_STATUS_INTERNAL_ERROR,
    };
    CudaError::Blas(cudarc::cublas::result::CublasError(status))
}

fn stored(kind: Kind) -> sys::cudaDataType {
    match kind {
        Kind::F32 => sys::cudaDataType::CUDA_R_32F,
        Kind::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        Kind::F16 => sys::cudaDataType::CUDA_R_16F,
    }
}

/// Asks the library for its quickest way.
fn plan(handle: sys::cublasLtHandle_t, key: &Key) -> Result<Planned, result::CublasError> {
    use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
    let [m, n, k] = key.shape.map(|side| side as u64);
    let descriptor = describe(key)?;
    let layout = |kind, transposed: bool, (rows, cols): (u64, u64), width: usize| {
        let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
        result::create_matrix_layout(stored(kind), rows, cols, width as i64)
    };
    let a = layout(key.kinds[0], key.transposed[0], (m, k), key.widths[0])?;
    let b = layout(key.kinds[1], key.transposed[1], (k, n), key.widths[1])?;
    let d = layout(key.kinds[2], false, (m, n), key.widths[2])?;
    let preference = result::create_matmul_pref()?;
    let set = |what, value: *const c_void, size| {
        // SAFETY: the preference lives until the end of this function, and the value has the size that is said
        unsafe { result::set_matmul_pref_attribute(preference, what, value, size) }
    };
    let workspace = WORKSPACE;
    set(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::ptr::from_ref(&workspace).cast(), 8)?;
    // sums are f32, in parts as well: a 16-bit target is no place for them (none, or in the precision of the sums)
    let schemes = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
    if key.kinds[2] != Kind::F32 {
        let what = Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
        set(what, std::ptr::from_ref(&schemes).cast(), 4)?;
    }
    let sides = [
        Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    ];
    for (what, bytes) in sides.into_iter().zip(&key.alignment) {
        set(what, std::ptr::from_ref(bytes).cast(), 4)?;
    }
    let found = result::get_matmul_algo_heuristic(handle, descriptor, a, b, d, d, preference);
    // SAFETY: made above, and not used again
    unsafe { result::destroy_matmul_pref(preference) }?;
    Ok(Planned { descriptor, layouts: [a, b, d], algorithm: found?.algo })
}

fn describe(key: &Key) -> Result<sys::cublasLtMatmulDesc_t, result::CublasError> {
    use sys::cublasLtMatmulDescAttributes_t as Attribute;
    let compute = match key.tf32 && key.kinds[0] == Kind::F32 {
        true => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        false => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let descriptor = result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)?;
    let set = |what, value: i32| {
        // SAFETY: the descriptor was made above, and each of these attributes is a 32-bit number
        unsafe { result::set_matmul_desc_attribute(descriptor, what, std::ptr::from_ref(&value).cast(), 4) }
    };
    // the column-major view of a row-major matrix is its transpose already
    use cudarc::cublas::sys::cublasOperation_t as Operation;
    let operation = |transposed: bool| {
        let operation = if transposed { Operation::CUBLAS_OP_T } else { Operation::CUBLAS_OP_N };
        operation as i32
    };
    set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, operation(key.transposed[0]))?;
    set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, operation(key.transposed[1]))?;
    if key.bias {
        set(
            Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
            sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS as i32,
        )?;
        set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, stored(key.kinds[2]) as i32)?;
    }
    Ok(descriptor)
}
