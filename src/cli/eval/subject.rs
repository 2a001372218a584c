//! The arguments that say which network is judged and how it is shown pictures.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use dfdx::prelude::Cpu;

use crate::error::Error;
use crate::eval::subject::{Ask, Subject};
use crate::kernels::Products;
use crate::kernels::cpu::fastest_products;
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

/// What networks are computed with.
#[derive(Clone, Debug, Args)]
pub struct NumbersArg {
    /// The number type of activations and matrix products
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
}

/// Numbers that networks are judged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Precision {
    F32,
    Bf16,
    /// The fastest that the processor does well
    Auto,
}

impl NumbersArg {
    fn products(&self) -> Products {
        match self.precision {
            Precision::F32 => Products::F32,
            Precision::Bf16 => Products::Bf16,
            Precision::Auto => fastest_products(),
        }
    }
}

impl ViewArgs {
    /// Opens weights to be judged.
    ///
    /// # Errors
    /// As [`Subject::open`].
    pub fn open(&self, weights: &Path, which: Which) -> Result<Subject<Cpu>, Error> {
        let (resize, crop) = (self.resize.map(usize::from), self.crop.map(usize::from));
        let ask = Ask { which, resize, crop, products: self.numbers.products() };
        Subject::open(&Cpu::default(), weights, ask)
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
    pub fn open(&self, numbers: &NumbersArg) -> Result<Subject<Cpu>, Error> {
        let ask = Ask { which: self.which, resize: None, crop: None, products: numbers.products() };
        Subject::open(&Cpu::default(), &self.weights, ask)
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
    /// Opens the network.
    ///
    /// # Errors
    /// As [`Subject::open`].
    pub fn open(&self) -> Result<Subject<Cpu>, Error> {
        self.view.open(&self.weights, self.which)
    }
}
