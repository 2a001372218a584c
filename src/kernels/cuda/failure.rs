//! Errors after which a GPU's context is lost: nothing on it can be read, saved or even freed.
//!
//! dfdx and cudarc free memory as values go out of scope, and take an error there for impossible; after such an error the process
//! would end in the middle of a destructor, without a word on the cause. So it ends here, in order.

use std::io::Write;

use cudarc::cublas::sys::cublasStatus_t as Status;
use cudarc::driver::sys::CUresult as Code;
use dfdx::prelude::CudaError;

use super::gpu::words;

/// The exit status of a run that failed.
const FAILED: i32 = 1;

/// Passes a result on, unless the context is lost: then says so and ends the process.
pub fn judged<T, E: Into<CudaError>>(doing: &str, result: Result<T, E>) -> Result<T, CudaError> {
    let error: CudaError = match result {
        Ok(value) => return Ok(value),
        Err(error) => error.into(),
    };
    if let Some(cause) = lost(&error) {
        // a closed standard error leaves nobody to tell
        let _ = writeln!(
            std::io::stderr(),
            "error: the GPU's work can't go on: {cause}. It was noticed at {doing}; the fault may lie in any kernel before.\n\
             Nothing since the last checkpoint could be saved. `dinoflow run … --resume` goes on from there; `nvidia-smi` and the \
             system's log (Xid) say whether the card itself is at fault."
        );
        std::process::exit(FAILED);
    }
    Err(error)
}

/// What happened, where nothing can be done on this context any more.
fn lost(error: &CudaError) -> Option<String> {
    match error {
        CudaError::Driver(error) => {
            let sticky = matches!(
                error.0,
                Code::CUDA_ERROR_ILLEGAL_ADDRESS
                    | Code::CUDA_ERROR_MISALIGNED_ADDRESS
                    | Code::CUDA_ERROR_LAUNCH_FAILED
                    | Code::CUDA_ERROR_LAUNCH_TIMEOUT
                    | Code::CUDA_ERROR_ILLEGAL_INSTRUCTION
                    | Code::CUDA_ERROR_HARDWARE_STACK_ERROR
                    | Code::CUDA_ERROR_INVALID_ADDRESS_SPACE
                    | Code::CUDA_ERROR_INVALID_PC
                    | Code::CUDA_ERROR_ASSERT
                    | Code::CUDA_ERROR_ECC_UNCORRECTABLE
                    | Code::CUDA_ERROR_EXTERNAL_DEVICE
                    | Code::CUDA_ERROR_CONTEXT_IS_DESTROYED
            );
            sticky.then(|| words(*error))
        }
        CudaError::Blas(error) if error.0 == Status::CUBLAS_STATUS_EXECUTION_FAILED => {
            Some("a product of matrices failed on the card".into())
        }
        CudaError::Blas(_) | CudaError::Cpu(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cudarc::driver::result::DriverError;

    #[test]
    fn only_errors_that_leave_nothing_behind_end_the_process() {
        let of = |code| lost(&CudaError::Driver(DriverError(code)));
        assert!(of(Code::CUDA_ERROR_ILLEGAL_ADDRESS).is_some());
        assert!(of(Code::CUDA_ERROR_ECC_UNCORRECTABLE).is_some());
        for code in
            [Code::CUDA_ERROR_OUT_OF_MEMORY, Code::CUDA_ERROR_INVALID_VALUE, Code::CUDA_ERROR_NOT_FOUND]
        {
            assert_eq!(of(code), None, "{code:?}");
            assert!(judged("a test", Err::<(), _>(DriverError(code))).is_err());
        }
    }
}
