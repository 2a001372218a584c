//! The arguments that say which network is judged and how it is shown pictures.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use dfdx::prelude::Cpu;

use crate::cli::device::{self, Opened, Work};
use crate::error::Error;
use crate::eval::extractor::Placed;
use crate::eval::subject::{Ask, Subject};
use crate::graph::spec::{DeviceChoice, Precision as Numbers};
use crate::kernels::Products;
use crate::stages::registry::Registered;
use crate::weights::Which;

/// How a network is shown pictures, and computed.
#[derive(Clone, Debug, Args)]
pub struct ViewArgs {
    /// The shorter side in pixels after resizing, before the crop [default: 256/224 of the crop]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..=16384))]
    pub resize: Option<u16>,
    /// The side in pixels of the centre crop [default: that of the network's own pictures]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..=16384))]
    pub crop: Option<u16>,
    /// Pictures in the network at once; any number gives the same features
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub batch: u32,
    #[command(flatten)]
    numbers: NumbersArg,
}

/// What networks are computed with, and where.
#[derive(Clone, Debug, Args)]
pub struct NumbersArg {
    /// The number type of activations and matrix products
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Where the network lives: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device::word)]
    device: DeviceChoice,
}

/// Numbers that networks are judged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Precision {
    F32,
    Bf16,
    /// 16-bit IEEE floats, on a GPU
    F16,
    /// The fastest that the device does well
    Auto,
}

/// A network that is opened on whatever device.
struct Opening<'a> {
    path: &'a Path,
    ask: Ask,
}

impl Work for Opening<'_> {
    type Done = Result<Subject, Error>;

    fn on<D: Registered>(self, device: &D) -> Self::Done {
        Subject::open(device, self.path, self.ask).map(Subject::anywhere)
    }
}

impl NumbersArg {
    /// The products on a device.
    fn products(&self, device: DeviceChoice) -> Result<Products, Error> {
        let numbers = match self.precision {
            Precision::F32 => Numbers::F32,
            Precision::Bf16 => Numbers::Bf16,
            Precision::F16 => Numbers::F16,
            Precision::Auto => Numbers::Auto,
        };
        match numbers.decided(device) {
            Numbers::Bf16 => Ok(Products::Bf16),
            Numbers::F16 if device == DeviceChoice::Cpu => Err(Error::Request(
                "--precision f16: 16-bit IEEE floats are for GPUs; expected f32, bf16 or auto on the CPU"
                    .into(),
            )),
            Numbers::F16 => Ok(Products::F16),
            Numbers::F32 | Numbers::Auto => Ok(Products::F32),
        }
    }

    /// The device, opened.
    ///
    /// # Errors
    /// [`Error::Request`] when it is not there.
    fn device(&self) -> Result<Opened, Error> {
        device::open_asked(self.device)
    }

    fn open(&self, path: &Path, which: Which, [resize, crop]: [Option<usize>; 2]) -> Result<Subject, Error> {
        let products = self.products(device::settled(self.device))?;
        self.device()?.work(Opening { path, ask: Ask { which, resize, crop, products } })
    }
}

impl ViewArgs {
    /// Opens weights to be judged.
    ///
    /// # Errors
    /// As [`Subject::open`], and when the device is not there.
    pub fn open(&self, weights: &Path, which: Which) -> Result<Subject, Error> {
        self.numbers.open(weights, which, self.sides())
    }

    /// The device, opened.
    ///
    /// # Errors
    /// [`Error::Request`] when it is not there.
    pub fn device(&self) -> Result<Opened, Error> {
        self.numbers.device()
    }

    /// Before the crop, and of it.
    fn sides(&self) -> [Option<usize>; 2] {
        [self.resize, self.crop].map(|side| side.map(usize::from))
    }

    /// Pictures in the network at once.
    pub fn batch(&self) -> usize {
        self.batch as usize
    }
}

/// Weights beside the pictures that a command is about.
#[derive(Clone, Debug, Args)]
pub struct WeightsArgs {
    /// A run's folder, a checkpoint's, or a file of weights
    #[arg(long, value_name = "RUN|WEIGHTS")]
    pub weights: PathBuf,
    /// Which network of a run or a full checkpoint
    #[arg(long, value_enum, default_value_t = Which::Teacher)]
    pub which: Which,
}

impl WeightsArgs {
    /// Opens a network that is shown pictures of any size.
    ///
    /// # Errors
    /// As [`Subject::open`].
    pub fn open(&self, numbers: &NumbersArg) -> Result<Subject, Error> {
        numbers.open(&self.weights, self.which, [None; 2])
    }
}

/// Weights, and which of a run's networks they are.
#[derive(Clone, Debug, Args)]
pub struct SubjectArgs {
    /// A run's folder, a checkpoint's, or a file of weights
    #[arg(value_name = "RUN|WEIGHTS")]
    pub weights: PathBuf,
    /// Which network of a run or a full checkpoint
    #[arg(long, value_enum, default_value_t = Which::Teacher)]
    pub which: Which,
    #[command(flatten)]
    pub view: ViewArgs,
}

impl SubjectArgs {
    /// How a network is opened to be trained, which processors alone do here.
    ///
    /// # Errors
    /// [`Error::Request`] when a GPU is asked for, or numbers that only a GPU has.
    pub fn ask_trained(&self) -> Result<Ask, Error> {
        let ViewArgs { numbers, .. } = &self.view;
        if let DeviceChoice::Cuda(ordinal) = numbers.device {
            return Err(Error::Request(format!(
                "--device cuda:{ordinal}: fine-tuning trains on the CPU, the only protocol that does; leave --device out"
            )));
        }
        let [resize, crop] = self.view.sides();
        Ok(Ask { which: self.which, resize, crop, products: numbers.products(DeviceChoice::Cpu)? })
    }

    /// Opens the network to be trained.
    ///
    /// # Errors
    /// As [`Subject::open`].
    pub fn open_trained(&self, ask: Ask) -> Result<Subject<Placed<Cpu>>, Error> {
        Subject::open(&Cpu::default(), &self.weights, ask)
    }
}
