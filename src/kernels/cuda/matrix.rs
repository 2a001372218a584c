//! Products of matrices, by NVIDIA's library (cublasLt).
//!
//! Matrices are row-major here and column-major there: what we call c = a b, the library knows as cᵀ = bᵀ aᵀ, on the same memory.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::CudaDevice;
use dfdx::prelude::CudaError;

use super::convert::convert;
use super::gpu::Gpu;
use super::scratch::Memory;
use super::view::{Any, AnyMut, Kind, View};
use crate::kernels::Products;

/// Memory that the library may use while it works.
const WORKSPACE: usize = 32 << 20;

/// A matrix that is multiplied.
#[derive(Clone, Copy, Debug)]
pub struct Factor<'a> {
    pub data: Any<'a>,
    /// Numbers from one row, as it is stored, to the next.
    pub width: usize,
    /// Whether it is stored as its transpose.
    pub transposed: bool,
}

impl<'a> Factor<'a> {
    /// Rows as they are stored, `width` numbers apart.
    pub fn rows(data: impl Into<Any<'a>>, width: usize) -> Self {
        Factor { data: data.into(), width, transposed: false }
    }

    /// The transpose of what is stored.
    pub fn transposed(data: impl Into<Any<'a>>, width: usize) -> Self {
        Factor { data: data.into(), width, transposed: true }
    }
}

/// Where a product goes, and what is added to it.
#[derive(Debug)]
pub struct Target<'a, 'b> {
    pub out: AnyMut<'a>,
    /// Numbers from one row to the next.
    pub width: usize,
    /// Times the product of the factors.
    pub scale: f32,
    /// A number for each column, added to every row.
    pub bias: Option<View<'b>>,
    /// What is added: what stands there, or other numbers of the same shape.
    pub plus: Plus<'b>,
}

/// What is added to a product.
#[derive(Clone, Copy, Debug)]
pub enum Plus<'a> {
    Nothing,
    /// What the target holds.
    Itself,
    /// f32 numbers with rows as wide as the target's.
    Other(View<'a>),
}

impl<'a, 'b> Target<'a, 'b> {
    /// Overwrites the numbers there.
    pub fn new(out: impl Into<AnyMut<'a>>, width: usize) -> Self {
        Target { out: out.into(), width, scale: 1.0, bias: None, plus: Plus::Nothing }
    }

    pub fn biased(self, bias: Option<View<'b>>) -> Self {
        Target { bias, ..self }
    }

    pub fn scaled(self, scale: f32) -> Self {
        Target { scale, ..self }
    }

    pub fn plus(self, plus: Plus<'b>) -> Self {
        Target { plus, ..self }
    }
}

/// (rows, depth) times (depth, cols), into (rows, cols).
///
/// # Errors
/// When the library or the driver refuses.
///
/// # Panics
/// When a matrix is smaller than the shape says.
pub fn product(
    gpu: &Gpu,
    products: Products,
    (rows, cols, depth): (usize, usize, usize),
    a: Factor<'_>,
    b: Factor<'_>,
    target: Target<'_, '_>,
) -> Result<(), CudaError> {
    assert_within("a", a, rows, depth);
    assert_within("b", b, depth, cols);
    assert!(
        rows == 0 || cols == 0 || (rows - 1) * target.width + cols <= target.out.len(),
        "room for a product"
    );
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let kind = Kind::of(products);
    let (a_room, b_room) = (rounded(gpu, kind, a.data)?, rounded(gpu, kind, b.data)?);
    let (a_data, b_data) =
        (a_room.as_ref().map_or(a.data, Memory::any), b_room.as_ref().map_or(b.data, Memory::any));
    let (a, b) = (Factor { data: a_data, ..a }, Factor { data: b_data, ..b });
    let narrow = target.out.kind() != Kind::F32 && target.out.kind() != kind;
    if !narrow {
        return multiply(gpu, (rows, cols, depth), a, b, target);
    }
    // the library writes f32 or what the factors are: anything else goes through f32
    let Target { mut out, width, scale, bias, plus } = target;
    assert!(
        matches!(plus, Plus::Nothing) && width == cols,
        "a whole matrix in another precision than its factors'"
    );
    let mut wide = gpu.unwritten(Kind::F32, rows * cols)?;
    let to = Target::new(wide.any_mut(), cols).scaled(scale).biased(bias);
    multiply(gpu, (rows, cols, depth), a, b, to)?;
    convert(gpu, wide.any(), out.lend())
}

fn assert_within(name: &str, factor: Factor<'_>, rows: usize, cols: usize) {
    let (rows, cols) = if factor.transposed { (cols, rows) } else { (rows, cols) };
    let fits = rows == 0
        || cols == 0
        || cols <= factor.width && (rows - 1) * factor.width + cols <= factor.data.len();
    assert!(
        fits,
        "{rows} rows of {cols} numbers, {} apart, in {name} of {}",
        factor.width,
        factor.data.len()
    );
}

/// Factors in the precision of the product, unless they are already.
pub fn rounded(gpu: &Gpu, kind: Kind, x: Any<'_>) -> Result<Option<Memory>, CudaError> {
    if x.kind() == kind {
        return Ok(None);
    }
    let mut room = gpu.unwritten(kind, x.len())?;
    convert(gpu, x, room.any_mut())?;
    Ok(Some(room))
}

fn multiply(
    gpu: &Gpu,
    (rows, cols, depth): (usize, usize, usize),
    a: Factor<'_>,
    b: Factor<'_>,
    target: Target<'_, '_>,
) -> Result<(), CudaError> {
    let (alpha, beta) = (target.scale, if matches!(target.plus, Plus::Nothing) { 0.0f32 } else { 1.0 });
    let plus = match target.plus {
        Plus::Other(other) => {
            assert!(
                target.out.kind() == Kind::F32 && other.len() >= target.out.len(),
                "f32 numbers are added to f32"
            );
            other.pointer()
        }
        Plus::Nothing | Plus::Itself => target.out.pointer(),
    };
    let pointers = [b.data.pointer(), a.data.pointer(), plus, target.out.pointer()];
    let key = Key {
        shape: [cols, rows, depth],
        widths: [b.width, a.width, target.width],
        transposed: [b.transposed, a.transposed],
        kinds: [b.data.kind(), a.data.kind(), target.out.kind()],
        bias: target.bias.is_some(),
        tf32: gpu.tf32(),
        alignment: pointers.map(|pointer| 1 << pointer.trailing_zeros().min(8)),
    };
    gpu.bind()?;
    gpu.with_library(|library| {
        let bias = target.bias.map_or(0, View::pointer);
        library.multiply(gpu, &key, bias, pointers, (alpha, beta))
    })
}

/// What a product's plan depends on; a is the library's first factor (our b).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Rows, columns, depth of the library's product.
    shape: [usize; 3],
    widths: [usize; 3],
    transposed: [bool; 2],
    kinds: [Kind; 3],
    bias: bool,
    tf32: bool,
    /// Of a, b, c and d, in bytes.
    alignment: [u32; 4],
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
    planned: HashMap<Key, Planned>,
}

// SAFETY: the library's handles may be used by one thread after the other
unsafe impl Send for Library {}

impl Library {
    pub fn new(device: &Arc<CudaDevice>) -> Result<Library, CudaError> {
        let handle = result::create_handle().map_err(refused)?;
        let workspace = Memory::unwritten(device, Kind::F32, WORKSPACE / 4)?;
        Ok(Library { handle, workspace, planned: HashMap::new() })
    }

    fn multiply(
        &mut self,
        gpu: &Gpu,
        key: &Key,
        bias: u64,
        [a, b, c, d]: [u64; 4],
        (alpha, beta): (f32, f32),
    ) -> Result<(), CudaError> {
        if !self.planned.contains_key(key) {
            let planned = plan(self.handle, key).map_err(refused)?;
            self.planned.insert(key.clone(), planned);
        }
        let planned = &self.planned[key];
        let [a_layout, b_layout, d_layout] = planned.layouts;
        let place = |pointer: u64| pointer as *const c_void;
        let workspace = self.workspace.any_mut().pointer() as *mut c_void;
        // SAFETY: the layouts were made for matrices of this shape, which lie within their views (`product`); descriptor and
        // algorithm are the plan's own, and the workspace is as large as the preference said
        unsafe {
            if key.bias {
                let pointer = std::ptr::from_ref(&bias).cast();
                let what = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
                result::set_matmul_desc_attribute(planned.descriptor, what, pointer, 8).map_err(refused)?;
            }
            result::matmul(
                self.handle,
                planned.descriptor,
                std::ptr::from_ref(&alpha).cast(),
                std::ptr::from_ref(&beta).cast(),
                place(a),
                a_layout,
                place(b),
                b_layout,
                place(c),
                d_layout,
                d as *mut c_void,
                d_layout,
                &planned.algorithm,
                workspace,
                WORKSPACE,
                gpu.stream().cast(),
            )
            .map_err(refused)
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

/// Asks the library for its quickest way; sums are f32.
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
        set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, sys::cudaDataType::CUDA_R_32F as i32)?;
    }
    Ok(descriptor)
}
