//! Weights in and out: files of several programs to one network of ours and back.
//!
//! ```text
//! folder    what a path means: a file, a Hugging Face or timm folder, a checkpoint, a run
//! pickle, torch, safetensors    what a file lists, read without running anything and without believing a length (`tensors`)
//! naming    whose keys they are, and which weight of ours each one is
//! infer, layout, judge, load    the architecture that shapes tell, what it must have, and the numbers
//! positions    position embeddings in another layout or for another size
//! words     what messages show of a file's own words
//! export    the way back: files that other programs read
//! onnx      networks that other programs run
//! ```
//! [`open`] is the way in. It is strict: a key that is missing, of another shape or of another network is an error, and
//! every other key is accounted for in a [`KeyReport`].

mod beside;
mod error;
pub mod export;
mod folder;
mod infer;
mod judge;
mod layout;
mod load;
pub mod naming;
mod onnx;
pub mod pickle;
mod positions;
mod preprocessing;
mod report;
mod safetensors;
mod tensors;
pub mod torch;
mod words;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::graph::spec::NetworkSpec;
use crate::runtime::stage::State;
use folder::Found;
use load::{Read, load};
use pickle::Value;
use safetensors::Safetensors;
use tensors::Tensors;
use torch::Saved;
use words::shown;

pub use error::{Cause, WeightsError};
pub use naming::Format;
pub use positions::resize;
pub use preprocessing::Preprocessing;
pub use report::{KeyReport, Left, Loaded, Reshaped};

/// A file of weights, opened.
#[derive(Debug)]
pub struct Opened {
    /// Tensors under the published keys: `backbone.…`, and `head.…` where the file has a head. Floats are f32, counts whole numbers.
    pub state: State,
    /// The architecture by names and shapes, its head too where there is one; `init` is the seed.
    pub network: NetworkSpec,
    /// What the file was.
    pub format: Format,
    /// What became of every key.
    pub keys: KeyReport,
    /// Whether the file has a head; without one `network.head` is the default.
    pub has_head: bool,
    /// How its pictures were shown to it, if a file beside the weights says so.
    pub shown: Option<Preprocessing>,
}

/// One of the two networks of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Which {
    Student,
    /// The better one (section 5.1 of the paper).
    #[default]
    Teacher,
}

impl Which {
    fn other(self) -> Which {
        match self {
            Which::Student => Which::Teacher,
            Which::Teacher => Which::Student,
        }
    }

    /// What is said where the other network is alone.
    fn absent(self, place: &str) -> Cause {
        let (key, other) = (self.key(), self.other().key());
        Cause::Request(format!("{place} has no {key} but a {other}: ask for it with --which {other}"))
    }

    /// The key of its network in a whole checkpoint, and the stem of its file in ours.
    pub fn key(self) -> &'static str {
        match self {
            Which::Student => "student",
            Which::Teacher => "teacher",
        }
    }
}

/// Reads weights from a safetensors file, a file of `torch.save`, a Hugging Face or timm folder, a checkpoint of dinoflow's or a run. The
/// content decides what a file is, not its name. `which` picks a network where there are two.
///
/// # Errors
/// When the path holds no weights, the file is damaged, or its network is none of ours, whole and finite.
pub fn open(path: &Path, which: Which) -> Result<Opened, WeightsError> {
    let found = folder::find(path, which)?;
    let about = |cause: Cause| cause.of(&found.file);
    let (read, format) = read(&found, which).map_err(about)?;
    let Read { state, mut network, has_head, mut keys } = read;
    if let Some(config) = found.config.as_ref().filter(|_| format == Format::HuggingFace) {
        keys.notes.extend(beside::judge_hugging_face(config, &network).map_err(about)?);
    }
    if let Some(config) = found.config.as_ref().filter(|_| format == Format::Timm) {
        beside::judge_timm(config, &network).map_err(about)?;
    }
    if let (true, Some(config)) = (found.is_timm(), &found.config) {
        beside::judge_timm_architecture(config, &network).map_err(about)?;
    }
    found.complete(&mut network, has_head);
    let shown = found.shown().map_err(about)?;
    Ok(Opened { state, network, format, keys, has_head, shown })
}

/// What a file's first bytes say that it is, read.
fn read(found: &Found, which: Which) -> Result<(Read, Format), Cause> {
    let (path, mut head) = (&*found.file, Vec::new());
    File::open(path)?.take(64).read_to_end(&mut head)?;
    // the length of a safetensors header may look like the beginning of the others, whose ninth byte is never a brace
    let brace = head.get(8) == Some(&b'{');
    if torch::is_archive(&head) && !brace {
        return saved(Saved::archive(path)?, which, found);
    }
    if torch::is_pickle(&head) && !brace {
        return saved(Saved::legacy(path)?, which, found);
    }
    let named = path.extension().is_some_and(|extension| extension == "safetensors");
    if brace || (named && !folder::is_text(&head)) {
        let mut tensors = Safetensors::open(path)?;
        let format = format(&tensors, true, found)?;
        return Ok((load(&mut tensors, format, found.said())?, format));
    }
    Err(Cause::NotWeights { found: folder::in_words(&head) })
}

/// What `torch.save` was handed, read.
fn saved(saved: Saved, which: Which, found: &Found) -> Result<(Read, Format), Cause> {
    let root = saved.root.clone();
    let (dictionary, full) = chosen(&root, which)?;
    let mut tensors = saved.tensors(dictionary)?;
    let format = if full { Format::PublishedFull } else { format(&tensors, false, found)? };
    Ok((load(&mut tensors, format, found.said())?, format))
}

/// The dictionary of the tensors of `which` among what was saved, or of the only network; and whether that is a whole training's.
fn chosen(root: &Value, which: Which) -> Result<(&Value, bool), Cause> {
    if root.entries().is_none() {
        let advice =
            "a whole module is code that would have to run; in Python, torch.save(module.state_dict(), …)";
        return Err(Cause::NotWeights { found: format!("torch.save was handed {} ({advice})", root.kind()) });
    }
    let held = |key: &str| root.get(key).filter(|value| value.entries().is_some());
    if let Some(network) = held(which.key()) {
        return Ok((network, true));
    }
    if held(which.other().key()).is_some() {
        return Err(which.absent("the file"));
    }
    let within = ["state_dict", "model", "model_state_dict"].into_iter().find_map(held);
    Ok((within.unwrap_or(root), false))
}

fn format(tensors: &dyn Tensors, safetensors: bool, found: &Found) -> Result<Format, Cause> {
    let listed = tensors.listed();
    Format::of(listed, safetensors, found.is_timm()).ok_or_else(|| {
        // without it a network may have none of the keys that tell whose it is
        if let Some((key, what)) = tensors.unreadable().next() {
            return Cause::tensor(key, what);
        }
        let first: Vec<String> = listed.iter().take(3).map(|tensor| shown(&tensor.key)).collect();
        Cause::NotWeights {
            found: match first.is_empty() {
                true => "a file without tensors".into(),
                false => format!(
                    "{} {} that no network known here has ({}{})",
                    listed.len(),
                    if listed.len() == 1 { "tensor" } else { "tensors" },
                    first.join(", "),
                    if listed.len() > first.len() { ", …" } else { "" }
                ),
            },
        }
    })
}
