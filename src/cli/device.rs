//! The devices that a graph may ask for, as far as this program and this machine have them.

#[cfg(feature = "cuda")]
use std::io::Write;

use dfdx::prelude::Cpu;

use crate::error::Error;
use crate::graph::spec::DeviceChoice;
use crate::stages::registry::Registered;

/// A device that was opened.
pub enum Opened {
    Cpu(Cpu),
    #[cfg(feature = "cuda")]
    Cuda(dfdx::prelude::Cuda),
}

/// Work that is the same on every device: [`Opened::work`] does it on one.
pub trait Work {
    type Done;

    fn on<D: Registered>(self, device: &D) -> Self::Done;
}

impl Opened {
    pub fn work<W: Work>(&self, work: W) -> W::Done {
        match self {
            Opened::Cpu(device) => work.on(device),
            #[cfg(feature = "cuda")]
            Opened::Cuda(device) => work.on(device),
        }
    }
}

/// What `Auto` stands for here: the first GPU where there is one, else the CPU.
pub fn settled(choice: DeviceChoice) -> DeviceChoice {
    match choice {
        DeviceChoice::Auto if gpus() > 0 => DeviceChoice::Cuda(0),
        DeviceChoice::Auto => DeviceChoice::Cpu,
        chosen => chosen,
    }
}

/// GPUs that this program can use.
#[cfg(feature = "cuda")]
fn gpus() -> usize {
    crate::kernels::cuda::count().unwrap_or_else(|why| {
        // a closed standard error leaves nobody to tell
        let _ = writeln!(std::io::stderr(), "note: no GPU can be used, and the CPU is taken: {why}");
        0
    })
}

/// None: this program was built without CUDA.
#[cfg(not(feature = "cuda"))]
fn gpus() -> usize {
    0
}

/// Bytes of the memory that a device's tensors live in, where it is known.
pub fn memory(choice: DeviceChoice) -> Option<u64> {
    match choice {
        DeviceChoice::Auto | DeviceChoice::Cpu => crate::bench::memory::total(),
        #[cfg(feature = "cuda")]
        DeviceChoice::Cuda(ordinal) => crate::kernels::cuda::memory(ordinal).ok().map(|bytes| bytes as u64),
        #[cfg(not(feature = "cuda"))]
        DeviceChoice::Cuda(_) => None,
    }
}

/// Opens the device that a plan asks for.
///
/// # Errors
/// [`Error::Request`] for one that this program or this machine hasn't.
pub fn open(choice: DeviceChoice) -> Result<Opened, Error> {
    match settled(choice) {
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Opened::Cpu(Cpu::default())),
        DeviceChoice::Cuda(ordinal) => open_cuda(ordinal),
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(ordinal: usize) -> Result<Opened, Error> {
    let opened = crate::kernels::cuda::open(ordinal);
    opened.map(Opened::Cuda).map_err(|why| Error::Request(format!(
        "the graph asks for cuda:{ordinal}: {why}. Run it with --device cpu, or with --device cuda:N for one that is there"
    )))
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(ordinal: usize) -> Result<Opened, Error> {
    Err(Error::Request(format!(
        "the graph asks for cuda:{ordinal}, and this program was built without CUDA: run it with --device cpu, or build it \
         with --features cuda (README, \"On an NVIDIA GPU\")"
    )))
}
