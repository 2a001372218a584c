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

/// A device's word on the command line.
pub fn word(word: &str) -> Result<DeviceChoice, String> {
    let ordinal = |text: &str| text.parse().map_err(|_| format!("`{text}` is no number of a GPU"));
    match word.split_once(':') {
        None if word == "auto" => Ok(DeviceChoice::Auto),
        None if word == "cpu" => Ok(DeviceChoice::Cpu),
        None if word == "cuda" => Ok(DeviceChoice::Cuda(0)),
        Some(("cuda", number)) => ordinal(number).map(DeviceChoice::Cuda),
        _ => Err("expected auto, cpu, cuda or cuda:N".into()),
    }
}

/// Opens the device that a plan asks for.
///
/// # Errors
/// [`Error::Request`] for one that this program or this machine hasn't.
pub fn open(choice: DeviceChoice) -> Result<Opened, Error> {
    opened(choice, "the graph asks for")
}

/// Opens the device that an argument asks for, or that `auto` stands for.
///
/// # Errors
/// As [`open`].
pub fn open_asked(choice: DeviceChoice) -> Result<Opened, Error> {
    let asks = if choice == DeviceChoice::Auto { "--device auto stands for" } else { "--device" };
    opened(choice, asks)
}

/// `asks` says who asks for it, as the message on a device begins that is not there.
fn opened(choice: DeviceChoice, asks: &str) -> Result<Opened, Error> {
    match settled(choice) {
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Opened::Cpu(Cpu::default())),
        DeviceChoice::Cuda(ordinal) => open_cuda(ordinal, asks),
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(ordinal: usize, asks: &str) -> Result<Opened, Error> {
    let opened = crate::kernels::cuda::open(ordinal);
    opened.map(Opened::Cuda).map_err(|why| Error::Request(format!(
        "{asks} cuda:{ordinal}: {why}. Run it with --device cpu, or with --device cuda:N for one that is there"
    )))
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(ordinal: usize, asks: &str) -> Result<Opened, Error> {
    Err(Error::Request(format!(
        "{asks} cuda:{ordinal}, and this program was built without CUDA: run it with --device cpu, or build it \
         with --features cuda (README, \"On an NVIDIA GPU\")"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_devices() {
        let check = |text: &str, expected: Result<DeviceChoice, &str>| match (word(text), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
            (found, expected) => panic!("{text}: {found:?}; expected {expected:?}"),
        };
        check("auto", Ok(DeviceChoice::Auto));
        check("cpu", Ok(DeviceChoice::Cpu));
        check("cuda", Ok(DeviceChoice::Cuda(0)));
        check("cuda:3", Ok(DeviceChoice::Cuda(3)));
        check("cuda:x", Err("`x` is no number of a GPU"));
        check("gpu", Err("expected auto, cpu, cuda or cuda:N"));
        // as a graph writes it
        assert_eq!(format!("{:?}", DeviceChoice::Cuda(3)), "Cuda(3)");
    }

    #[test]
    fn a_device_that_is_not_there_is_told_with_who_asked_for_it() {
        for (asked, begins) in [(true, "--device cuda:99"), (false, "the graph asks for cuda:99")] {
            let opened = if asked { open_asked } else { open };
            let error = opened(DeviceChoice::Cuda(99)).err().expect("no machine has so many");
            assert!(error.exit_status() == 2 && error.to_string().starts_with(begins), "{error}");
        }
    }
}
