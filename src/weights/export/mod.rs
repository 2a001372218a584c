//! The way back: our weights as files that other programs read, with the same features there.

mod full;
mod rename;
mod settings;
mod write;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use super::error::{Cause, WeightsError};
use super::naming::Format;
use super::{Opened, Which, folder, onnx, open, resize};
use crate::runtime::stage::State;

pub use write::safetensors;

/// What weights can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A backbone as the paper's authors publish it: bare keys
    Dino,
    /// A whole checkpoint as their training writes it: student, teacher, epoch, centre
    DinoFull,
    /// timm's vision transformers: a file, or a folder that timm opens by itself
    Timm,
    /// A folder for Hugging Face's ViTModel
    Hf,
    /// torchvision's residual networks
    Torchvision,
    /// dinoflow's own: published keys, backbone and head
    Safetensors,
    /// The backbone itself, for any program that runs ONNX: pixels in, features out
    Onnx,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// A file, folder, checkpoint or run, as [`open`] takes it.
    pub from: PathBuf,
    pub which: Which,
    pub target: Target,
    pub out: PathBuf,
    /// Lays position embeddings out for square pictures of so many pixels.
    pub size: Option<usize>,
}

/// What was written.
#[derive(Debug)]
pub struct Exported {
    /// What the weights were read from; with `size`, as they were written.
    pub opened: Opened,
    pub files: Vec<PathBuf>,
    /// Tensors in them.
    pub tensors: usize,
    /// What one should know of the way there.
    pub notes: Vec<String>,
}

/// Reads weights and writes them as another program wants them.
///
/// # Errors
/// When they can't be read, when the target can't hold them (with what to use instead), or when `out` can't be written.
pub fn export(request: &Request) -> Result<Exported, WeightsError> {
    let out = &*request.out;
    if request.target == Target::DinoFull {
        let (student, opened) = (sized(request, Which::Student)?, sized(request, Which::Teacher)?);
        let tensors = full::write(request, &student, &opened)?;
        return Ok(Exported { opened, files: vec![out.to_owned()], tensors, notes: Vec::new() });
    }
    let opened = sized(request, request.which)?;
    let about = |cause: Cause| cause.of(&request.from);
    if request.target == Target::Onnx {
        let tensors = onnx::write(out, &opened, request.which)?;
        let mut notes = vec!["input `pixels` is normalised as the file's metadata say".into()];
        notes.extend(rename::completed(&opened));
        return Ok(Exported { opened, files: vec![out.to_owned()], tensors, notes });
    }
    let mut notes = Vec::new();
    let named = rename::all(&opened, request.target, &mut notes).map_err(about)?;
    let tensors = named.len();
    let files = match request.target {
        Target::Hf => {
            let settings = settings::hugging_face(&opened).map_err(about)?;
            write::folder(out, &settings, &named)?
        }
        Target::Timm if !is_file(out) => {
            let settings = settings::timm(&opened).map_err(about)?;
            write::folder(out, &settings, &named)?
        }
        _ => {
            write::file(out, &named)?;
            vec![out.to_owned()]
        }
    };
    Ok(Exported { opened, files, tensors, notes })
}

/// The weights that are asked for, at the size that is.
fn sized(request: &Request, which: Which) -> Result<Opened, WeightsError> {
    let mut opened = open(&request.from, which)?;
    if let Some(side) = request.size {
        let resized = resize(&mut opened.network, &mut opened.state, side);
        opened.keys.reshaped.extend(resized.map_err(|cause| cause.of(&request.from))?);
    }
    Ok(opened)
}

/// Whether a path is meant for one file of weights.
fn is_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("safetensors" | "pth" | "pt" | "bin"))
}

impl Target {
    /// Whose names it has.
    fn format(self) -> Format {
        match self {
            Target::Dino => Format::PublishedBackbone,
            Target::DinoFull => Format::PublishedFull,
            Target::Timm => Format::Timm,
            Target::Hf => Format::HuggingFace,
            Target::Torchvision => Format::Torchvision,
            // weights in a graph of operators need no names of their own
            Target::Safetensors | Target::Onnx => Format::Dinoflow,
        }
    }

    /// Whether a head has a place there.
    fn has_head(self) -> bool {
        matches!(self, Target::DinoFull | Target::Safetensors)
    }
}

/// Weights by their names elsewhere.
type Named = State;
