//! What a path means: a file of weights, a folder of another program's, a checkpoint or a run of ours; and what lies beside the weights.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Which;
use super::error::{Cause, WeightsError};
use super::positions::Said;
use super::preprocessing::Preprocessing;
use crate::graph::load::{self, Loaded, Request};
use crate::graph::spec::NetworkSpec;

/// A file of weights with what lies beside it.
#[derive(Debug)]
pub struct Found {
    pub file: PathBuf,
    /// A folder's `config.json`.
    pub config: Option<Value>,
    /// A folder's `preprocessor_config.json`.
    preprocessor: Option<Value>,
    /// The graph of the run that a checkpoint belongs to.
    graph: Option<Loaded>,
}

/// Files of settings over this many bytes are refused.
const LARGEST: u64 = 1 << 20;

/// Finds the weights that a path means.
///
/// # Errors
/// When there is nothing, or a folder that none of the known programs makes.
pub fn find(path: &Path, which: Which) -> Result<Found, WeightsError> {
    if !path.is_dir() {
        let metadata = std::fs::metadata(path).map_err(|e| Cause::System(e).of(path))?;
        if let Some(parts) = parts(path) {
            let found = format!("one of {parts} parts of a checkpoint ({MERGE})");
            return Err(Cause::NotWeights { found }.of(path));
        }
        return match metadata.is_file() {
            true => Ok(Found { graph: path.parent().and_then(graph), ..Found::alone(path.to_owned()) }),
            false => Err(Cause::NotWeights { found: "neither a file nor a folder".into() }.of(path)),
        };
    }
    let latest = path.join("checkpoints/latest");
    let checkpoint = if latest.is_file() { named(&latest)? } else { path.to_owned() };
    let file = checkpoint.join(format!("{}.safetensors", which.key()));
    if file.is_file() {
        return Ok(Found { graph: graph(&checkpoint), ..Found::alone(file) });
    }
    let other = checkpoint.join(format!("{}.safetensors", which.other().key()));
    if other.is_file() {
        return Err(which.absent("the checkpoint").of(&checkpoint));
    }
    others(path)
}

/// The weights in a folder of Hugging Face's or timm's.
fn others(path: &Path) -> Result<Found, WeightsError> {
    let config = json(path, "config.json")?;
    let file = ["model.safetensors", "pytorch_model.bin"]
        .map(|name| path.join(name))
        .into_iter()
        .find(|file| file.is_file());
    match (file, config) {
        (Some(file), Some(config)) => Ok(Found {
            config: Some(config),
            preprocessor: json(path, "preprocessor_config.json")?,
            ..Found::alone(file)
        }),
        (None, Some(_)) if INDICES.iter().any(|name| path.join(name).is_file()) => {
            let found = format!("a checkpoint in several parts ({MERGE})");
            Err(Cause::NotWeights { found }.of(path))
        }
        (None, Some(_)) => {
            let found = "a folder with config.json and neither model.safetensors nor pytorch_model.bin (in one piece)";
            Err(Cause::NotWeights { found: found.into() }.of(path))
        }
        _ => {
            let found = "a folder with neither checkpoints nor config.json";
            Err(Cause::NotWeights { found: found.into() }.of(path))
        }
    }
}

/// What lies in a folder of Hugging Face's beside several parts.
const INDICES: [&str; 2] = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];
/// How they come to one.
const MERGE: &str =
    "in Python, AutoModel.from_pretrained(FOLDER).save_pretrained(OTHER, max_shard_size=\"1TB\")";

/// Of how many parts a file's name says that it is one, `model-00001-of-00002.safetensors`; none of a whole.
fn parts(path: &Path) -> Option<u32> {
    let (front, parts) = path.file_stem()?.to_str()?.rsplit_once("-of-")?;
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|_| digits.len() == 5);
    number(front.rsplit_once('-')?.1)?;
    number(parts).filter(|&parts| parts > 1)
}

/// The checkpoint that a run's file `latest` names.
fn named(latest: &Path) -> Result<PathBuf, WeightsError> {
    let about = |cause: Cause| cause.of(latest);
    let text = bounded(latest).map_err(|e| about(Cause::System(e)))?;
    let name = String::from_utf8_lossy(&text).trim().to_owned();
    let plain = name.strip_prefix("step-").is_some_and(|step| step.bytes().all(|byte| byte.is_ascii_digit()));
    match latest.parent() {
        Some(folder) if plain => Ok(folder.join(name)),
        _ => Err(about(Cause::NotWeights { found: "it names no checkpoint (step-00000024)".into() })),
    }
}

/// The graph of the run that a checkpoint's folder belongs to. One that can't be read tells nothing, and weights tell enough.
fn graph(checkpoint: &Path) -> Option<Loaded> {
    let graph = checkpoint.parent()?.parent()?.join("graph.ron");
    let belongs = checkpoint.file_name()?.to_str()?.starts_with("step-") && graph.is_file();
    let loaded = belongs.then(|| load::load(&Request { graph, ..Request::default() }))?.ok()?;
    loaded.problems.is_empty().then_some(loaded)
}

/// A file of settings in a folder; none where there is no such file.
fn json(folder: &Path, name: &str) -> Result<Option<Value>, WeightsError> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let about = |cause: Cause| cause.of(&path);
    let text = bounded(&path).map_err(|e| about(Cause::System(e)))?;
    let wrong =
        |e: serde_json::Error| about(Cause::Beside { file: name.into(), what: format!("no JSON: {e}") });
    serde_json::from_slice(&text).map(Some).map_err(wrong)
}

/// The bytes of a small file.
fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LARGEST {
        true => Err(std::io::Error::other(format!("over {LARGEST} bytes, which no such file has"))),
        false => Ok(text),
    }
}

impl Found {
    /// A file with nothing beside it.
    fn alone(file: PathBuf) -> Found {
        Found { file, config: None, preprocessor: None, graph: None }
    }

    /// Whether a file beside the weights speaks of timm.
    pub fn is_timm(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.get("architecture").is_some())
    }

    /// What shapes don't tell of a head, from the graph of its run.
    pub fn complete(&self, network: &mut NetworkSpec, has_head: bool) {
        let Some(graph) = self.graph.as_ref().and_then(|loaded| loaded.spec.as_ref()) else { return };
        if has_head && graph.network.backbone.name() == network.backbone.name() {
            let (activation, l2) = (graph.network.head.activation, graph.network.head.l2);
            (network.head.activation, network.head.l2) = (activation, l2);
        }
    }

    /// What settings of timm's beside the weights say of their position embeddings.
    pub fn said(&self) -> Said {
        self.config.as_ref().filter(|_| self.is_timm()).map(Said::timm).unwrap_or_default()
    }

    /// How pictures were shown to the network.
    ///
    /// # Errors
    /// When a file beside the weights says it in numbers that no pictures have.
    pub fn shown(&self) -> Result<Option<Preprocessing>, Cause> {
        if let Some(theirs) =
            self.preprocessor.as_ref().map(Preprocessing::hugging_face).transpose()?.flatten()
        {
            return Ok(Some(theirs));
        }
        if let Some(theirs) = self.config.as_ref().map(Preprocessing::timm).transpose()?.flatten() {
            return Ok(Some(theirs));
        }
        Ok(self.graph.as_ref().and_then(Preprocessing::graph))
    }
}

/// Whether a file begins as text does.
pub fn is_text(head: &[u8]) -> bool {
    !head.is_empty() && head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

/// What a file's first bytes look like, for those who took it for weights.
pub fn in_words(head: &[u8]) -> String {
    let starts = |with: &str| head.starts_with(with.as_bytes());
    match head {
        [] => "an empty file".into(),
        _ if starts("version https://git-lfs") => {
            "a pointer of Git LFS, not the file itself (git lfs pull)".into()
        }
        _ if starts("<") => "a web page, not the file itself".into(),
        _ if starts("{") => "JSON; name the folder that it lies in".into(),
        [0x1f, 0x8b, ..] => "a gzip archive; unpack it".into(),
        [0x89, b'H', ..] => "an HDF5 file".into(),
        _ => {
            let shown: String = head.iter().take(8).map(|byte| format!("{byte:02x} ")).collect();
            format!("a file of an unknown kind (it begins {})", shown.trim_end())
        }
    }
}
