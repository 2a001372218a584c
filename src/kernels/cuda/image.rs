//! The compiled kernels: images that the build made where it found a compiler, else what NVRTC makes of the sources, kept
//! for the next time.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{CStr, CString, c_void};
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use cudarc::driver::{CudaDevice, result, sys};
use cudarc::nvrtc;

use super::gpu::words;
use crate::checkpoint::atomic;

// IMAGES and SOURCES by file, and what every source includes
include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// The line by which a source includes what all share.
const INCLUDE: &str = "#include \"common.cuh\"";

/// Why kernels could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("the kernels of {file} could not be compiled for this GPU:\n{log}")]
    Refused { file: &'static str, log: String },
    #[error("the kernels of {file} could not be loaded: {cause}")]
    Unloadable { file: &'static str, cause: String },
}

/// Loads every file's kernels.
pub fn load_all(device: &CudaDevice) -> Result<Vec<sys::CUmodule>, CompileError> {
    IMAGES.iter().zip(SOURCES).map(|((file, image), (_, source))| load(device, file, image, source)).collect()
}

fn load(
    device: &CudaDevice,
    file: &'static str,
    image: &[u8],
    source: &str,
) -> Result<sys::CUmodule, CompileError> {
    let made;
    let image = match image.is_empty() {
        true => {
            made = compiled(device, file, source)?;
            &made[..]
        }
        false => image,
    };
    // SAFETY: an image that a compiler made, whole (PTX ends with a 0)
    let module = unsafe { result::module::load_data(image.as_ptr().cast::<c_void>()) };
    module.map_err(|e| CompileError::Unloadable { file, cause: words(e) })
}

/// PTX for this GPU: kept from another time, or made now.
fn compiled(device: &CudaDevice, file: &'static str, source: &str) -> Result<Vec<u8>, CompileError> {
    let unloadable = |e| CompileError::Unloadable { file, cause: words(e) };
    let (major, minor) = capability(device).map_err(unloadable)?;
    let whole = source.replace(INCLUDE, COMMON);
    let mut hasher = DefaultHasher::new();
    (&whole, major, minor, nvrtc_version()).hash(&mut hasher);
    let kept =
        cache().map(|folder| folder.join(format!("{file}-sm{major}{minor}-{:016x}.ptx", hasher.finish())));
    if let Some(ptx) =
        kept.as_ref().and_then(|path| std::fs::read(path).ok()).filter(|ptx| ptx.ends_with(&[0]))
    {
        return Ok(ptx);
    }
    let ptx = compile(file, &whole, &format!("--gpu-architecture=compute_{major}{minor}"))?;
    // a cache that can't be written costs time, not the run
    if let Some((path, folder)) = kept.as_ref().and_then(|path| Some((path, path.parent()?))) {
        let _ =
            std::fs::create_dir_all(folder).and_then(|()| atomic::write(path, |file| file.write_all(&ptx)));
    }
    Ok(ptx)
}

/// The GPU's generation.
pub fn capability(device: &CudaDevice) -> Result<(i32, i32), result::DriverError> {
    use sys::CUdevice_attribute_enum as Attribute;
    Ok((
        device.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        device.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

/// What one version of the compiler makes another one's driver may not take.
fn nvrtc_version() -> (i32, i32) {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the call writes the two numbers
    unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    (major, minor)
}

/// Where compiled kernels are kept: `DINOFLOW_CACHE`, or where the system keeps such things.
fn cache() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = variable("DINOFLOW_CACHE");
    let base = || variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    own.or_else(|| base().map(|base| base.join("dinoflow"))).map(|folder| folder.join("kernels"))
}

fn compile(file: &'static str, source: &str, architecture: &str) -> Result<Vec<u8>, CompileError> {
    let refused = |log: String| CompileError::Refused { file, log };
    let program = nvrtc::result::create_program(source).map_err(|e| refused(format!("{e:?}")))?;
    // SAFETY: the program was created above, and is destroyed once, below
    let made = unsafe {
        match nvrtc::result::compile_program(program, &[architecture, "--std=c++17"]) {
            Ok(()) => nvrtc::result::get_ptx(program).map_err(|e| refused(format!("{e:?}"))),
            Err(_) => Err(refused(log_of(program))),
        }
    };
    // SAFETY: as above
    let _ = unsafe { nvrtc::result::destroy_program(program) };
    Ok(made?.into_iter().map(|byte| byte as u8).collect())
}

/// What the compiler said.
///
/// # Safety
/// The program must not have been destroyed.
unsafe fn log_of(program: nvrtc::sys::nvrtcProgram) -> String {
    // SAFETY: the caller vouches for the program
    let raw = unsafe { nvrtc::result::get_program_log(program) }.unwrap_or_default();
    let bytes: Vec<u8> = raw.into_iter().map(|byte| byte as u8).collect();
    let text = CStr::from_bytes_until_nul(&bytes).map(CStr::to_owned).unwrap_or_else(|_| CString::default());
    text.to_string_lossy().into_owned()
}
