//! Compiles the CUDA kernels where the feature `cuda` is on: `src/kernels/cuda/source/*.cu` to images for three generations of
//! GPUs and PTX for later ones. Where there is no nvcc the images are empty, and the program compiles the sources, which it
//! carries as well, when it starts. Without the feature nothing is done.
//!
//! `OUT_DIR/images.rs` lists whatever files there are, so that a new one needs no line of Rust.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Mutex;
use std::thread;

const SOURCE: &str = "src/kernels/cuda/source";
const COMMON: &str = "common.cuh";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    link_standin();
    if let Err(error) = build() {
        // as it is: an error that main returns is printed with its line ends escaped
        eprintln!("{error}");
        process::exit(1);
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join(SOURCE);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let kernels = kernels(&folder)?;
    match compiler() {
        Some(nvcc) => compile(&nvcc, &kernels, &out)?,
        None => {
            for kernel in &kernels {
                fs::write(kernel.image(&out), [])?;
            }
        }
    }
    fs::write(out.join("images.rs"), listing(&folder, &kernels, &out)?)?;
    Ok(())
}

struct Kernel {
    name: String,
    source: PathBuf,
}

impl Kernel {
    fn image(&self, out: &Path) -> PathBuf {
        out.join(format!("{}.fatbin", self.name))
    }
}

/// The files to compile, by name.
fn kernels(folder: &Path) -> Result<Vec<Kernel>, Box<dyn Error>> {
    println!("cargo:rerun-if-changed={}", folder.display());
    println!("cargo:rerun-if-changed={}", folder.join(COMMON).display());
    let mut kernels = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let source = entry?.path();
        if source.extension().is_some_and(|extension| extension == "cu") {
            println!("cargo:rerun-if-changed={}", source.display());
            let name = source.file_stem().and_then(|stem| stem.to_str());
            let name = name.ok_or_else(|| format!("{}: the name is not UTF-8", source.display()))?.to_owned();
            kernels.push(Kernel { name, source });
        }
    }
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(kernels)
}

/// The nvcc to compile with; without one, or where none is wanted, says why.
fn compiler() -> Option<PathBuf> {
    // such a build judges types, or runs kernels on the CPU
    if env::var_os("CARGO_FEATURE_CUDA_CHECK").is_some() {
        return None;
    }
    let roots = ["CUDA_PATH", "CUDA_HOME"];
    for name in ["DINOFLOW_NVRTC"].iter().chain(&roots) {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let later = "the program compiles its CUDA kernels when it starts (NVRTC)";
    if env::var_os("DINOFLOW_NVRTC").is_some_and(|value| !value.is_empty()) {
        println!("cargo:warning=DINOFLOW_NVRTC is set: {later}");
        return None;
    }
    let file = if cfg!(windows) { "nvcc.exe" } else { "nvcc" };
    let named = roots.into_iter().filter_map(env::var_os).map(PathBuf::from);
    let mut installed = named.chain([PathBuf::from("/usr/local/cuda")]).map(|root| root.join("bin"));
    let nvcc = installed.find_map(|folder| in_folder(folder, file)).or_else(|| {
        // only here: a change of PATH is no reason to compile again where the compiler was named
        println!("cargo:rerun-if-env-changed=PATH");
        env::split_paths(&env::var_os("PATH")?).find_map(|folder| in_folder(folder, file))
    });
    if nvcc.is_none() {
        println!("cargo:warning=no nvcc in CUDA_PATH, CUDA_HOME, /usr/local/cuda, or PATH: {later}");
    }
    nvcc
}

fn in_folder(folder: PathBuf, file: &str) -> Option<PathBuf> {
    Some(folder.join(file)).filter(|path| path.is_file())
}

/// Compiles all, some at once; the first that is refused (by name) fails the build with nvcc's own words.
fn compile(nvcc: &Path, kernels: &[Kernel], out: &Path) -> Result<(), String> {
    let jobs = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1_usize);
    let left = Mutex::new(kernels.iter());
    let refused = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, kernels.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some(kernel) = next else { break };
                    if let Err(words) = compile_one(nvcc, kernel, out) {
                        refused.lock().unwrap().push((&kernel.name, words));
                    }
                }
            });
        }
    });
    let mut refused = refused.into_inner().unwrap();
    refused.sort();
    refused.into_iter().next().map_or(Ok(()), |(_, words)| Err(words))
}

fn compile_one(nvcc: &Path, kernel: &Kernel, out: &Path) -> Result<(), String> {
    let mut command = Command::new(nvcc);
    command.args(["-std=c++17", "-O3", "-fatbin"]);
    command.args(["-gencode", "arch=compute_75,code=sm_75"]);
    command.args(["-gencode", "arch=compute_80,code=sm_80"]);
    // with PTX, which drivers compile for whatever comes after
    command.args(["-gencode", "arch=compute_90,code=[sm_90,compute_90]"]);
    command.arg("-o").arg(kernel.image(out)).arg(&kernel.source);
    let done = command.output().map_err(|error| format!("{}: {error}", nvcc.display()))?;
    if done.status.success() {
        return Ok(());
    }
    let words = [done.stdout, done.stderr].map(|words| String::from_utf8_lossy(&words).into_owned()).concat();
    Err(format!("nvcc refuses {} ({}):\n{command:?}\n{words}", kernel.source.display(), done.status))
}

/// The Rust that the program includes: images, sources, and what the sources include.
fn listing(folder: &Path, kernels: &[Kernel], out: &Path) -> Result<String, Box<dyn Error>> {
    let literal = |path: &Path| match path.to_str() {
        Some(path) => Ok(format!("{path:?}")),
        None => Err(format!("{}: the path is not UTF-8", path.display())),
    };
    // the driver reads words of eight bytes in an image, and bytes that are included stand anywhere
    let mut text = String::from("#[repr(C, align(16))]\nstruct Aligned<T>(T);\n\n");
    text.push_str("/// Each file's name and what nvcc made of it; empty where it was not compiled.\n");
    text.push_str("pub const IMAGES: &[(&str, &[u8])] = &[\n");
    for kernel in kernels {
        let image = literal(&kernel.image(out))?;
        writeln!(text, "    ({:?}, &Aligned(*include_bytes!({image})).0),", kernel.name)?;
    }
    text.push_str("];\n\n/// Each file's name and text.\npub const SOURCES: &[(&str, &str)] = &[\n");
    for kernel in kernels {
        writeln!(text, "    ({:?}, include_str!({})),", kernel.name, literal(&kernel.source)?)?;
    }
    text.push_str("];\n\n/// What stands in the place of `#include \"common.cuh\"` in them.\n");
    writeln!(text, "pub const COMMON: &str = include_str!({});", literal(&folder.join(COMMON))?)?;
    Ok(text)
}

/// Libraries that answer for NVIDIA's on the CPU, in a folder that tests name.
fn link_standin() {
    println!("cargo:rerun-if-env-changed=DINOFLOW_CUDA_STANDIN");
    let Some(folder) = env::var_os("DINOFLOW_CUDA_STANDIN").filter(|value| !value.is_empty()) else { return };
    // the program may be started anywhere
    let folder = fs::canonicalize(&folder).unwrap_or(folder.into());
    println!("cargo:rustc-link-search=native={}", folder.display());
    for library in ["cuda", "cublas", "cublasLt", "nvrtc"] {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
