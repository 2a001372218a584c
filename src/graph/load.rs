//! A graph file with its presets, `--without`, `--swap` and `--set`, to a specification in which every value knows its origin.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path as FilePath, PathBuf};

use super::edit;
use super::origin::{Origins, Place};
use super::parse::parse;
use super::preset::{self, NoPreset};
use super::problem::Diagnostic;
use super::read::read;
use super::spec::{DeviceChoice, GraphSpec};
use super::tree::{Body, Path, Tree, Value};
use crate::error::Error;

/// Graph files and presets over this many bytes are refused.
pub const LARGEST: u64 = 1 << 20;

/// What was asked for on the command line.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The graph file.
    pub graph: PathBuf,
    /// Nodes that are left out, before anything else is done.
    pub without: Vec<String>,
    /// `NODE=PRESET` or `NODE=RON`, in their order.
    pub swaps: Vec<String>,
    /// `PATH=VALUE`, in their order, after the swaps.
    pub sets: Vec<String>,
    /// What the device `Auto` stands for here.
    pub auto: DeviceChoice,
}

/// A graph as it was written, with everything that was wrong in the writing.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The graph file.
    pub path: PathBuf,
    /// None when the text could not be made out at all.
    pub spec: Option<GraphSpec>,
    /// The device as the file or an argument names it, also after `Auto` was settled in `spec`.
    pub asked: DeviceChoice,
    pub problems: Vec<Diagnostic>,
    pub origins: Origins,
    /// The text as a tree, after presets, swaps and sets.
    pub tree: Tree,
    /// Paths at which `spec` holds a stand-in for what could not be read.
    pub stand_ins: HashSet<Path>,
    /// Nodes that were left out, and the arguments that did.
    pub left_out: Vec<(String, Place)>,
    /// Stages that were swapped: the node, what stood there before, and the argument.
    pub swapped: Vec<(String, Tree, Place)>,
    /// Presets that nodes refer to: where in the graph, the preset's path, and the place of the reference.
    pub presets: Vec<(Path, String, Place)>,
}

impl Loaded {
    /// Whether the value at this path was read as it was written, with all that is in it.
    pub fn sound<S: AsRef<str>>(&self, path: &[S]) -> bool {
        self.stand_ins.iter().all(|stand_in| stand_in.iter().zip(path).any(|(a, b)| a != b.as_ref()))
    }

    /// The place of a value, or of the nearest value around it.
    pub fn place<S: AsRef<str>>(&self, path: &[S]) -> Place {
        self.tree.place(path).clone()
    }
}

/// Loads a graph. What is wrong with its text is in [`Loaded::problems`], all of it.
///
/// # Errors
/// When the graph file itself can't be read or is over [`LARGEST`].
pub fn load(request: &Request) -> Result<Loaded, Error> {
    let text = read_text(&request.graph).map_err(|cause| Error::File {
        doing: "read",
        path: request.graph.clone(),
        cause,
    })?;
    Ok(load_text(&text, request))
}

/// [`load`] for a text that is at hand; `request.graph` is its name.
pub fn load_text(text: &str, request: &Request) -> Loaded {
    let mut origins = Origins::default();
    let id = origins.add(request.graph.display().to_string(), text);
    let mut problems = Vec::new();
    let tree = parse(text, id).unwrap_or_else(|problem| {
        problems.push(*problem);
        Tree {
            value: Value::Shape { name: None, body: Body::Tuple(Vec::new()) },
            at: Place { origin: id, span: 0..0 },
        }
    });
    let mut loaded = Loaded {
        path: request.graph.clone(),
        spec: None,
        asked: DeviceChoice::Auto,
        problems,
        origins,
        tree,
        stand_ins: HashSet::new(),
        left_out: Vec::new(),
        swapped: Vec::new(),
        presets: Vec::new(),
    };
    if !loaded.problems.is_empty() {
        return loaded;
    }
    for without in &request.without {
        edit::leave_out(&mut loaded, without);
    }
    let beside = folders_of(&request.graph);
    expand(&mut loaded, &beside);
    for swap in &request.swaps {
        edit::swap(&mut loaded, swap);
    }
    for set in &request.sets {
        edit::set(&mut loaded, set);
    }
    expand(&mut loaded, &beside);
    type_check(&mut loaded);
    if let Some(spec) = loaded.spec.as_mut().filter(|spec| spec.device == DeviceChoice::Auto) {
        spec.device = request.auto;
    }
    loaded
}

/// Reads the tree as a specification, with everything in it that is not of its type.
fn type_check(loaded: &mut Loaded) {
    let reading = read::<GraphSpec>(&loaded.tree, loaded.stand_ins.clone());
    let faults = reading.faults.into_iter().map(|fault| fault.diagnose(&loaded.tree, &loaded.origins));
    loaded.problems.extend(faults);
    loaded.stand_ins = reading.stand_ins;
    loaded.asked = reading.value.as_ref().map_or(DeviceChoice::Auto, |spec| spec.device);
    loaded.spec = reading.value;
}

/// Where a graph's presets are looked up: beside the file and in the folder above it, as `graphs/` and `stages/` lie
/// side by side.
fn folders_of(graph: &FilePath) -> Vec<PathBuf> {
    let beside = graph.parent().map(FilePath::to_owned).unwrap_or_default();
    let above = match beside.file_name() {
        Some(_) => beside.parent().map(FilePath::to_owned),
        None => Some(beside.join("..")),
    };
    [Some(beside), above].into_iter().flatten().collect()
}

/// Puts presets in the place of the strings that name them.
fn expand(loaded: &mut Loaded, folders: &[PathBuf]) {
    let Some(Value::Map(nodes)) = loaded.tree.child("nodes").map(|nodes| &nodes.value) else { return };
    let names: Vec<String> = nodes
        .iter()
        .filter_map(|(key, _)| match &key.value {
            Value::Str(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    for name in names {
        for parts in [&["stage"][..], &["stage", "train"], &["stage", "val"], &["stage", "pictures"]] {
            let mut path: Path = vec!["nodes".into(), name.clone()];
            path.extend(parts.iter().map(|part| (*part).to_owned()));
            if loaded.stand_ins.contains(&path) {
                continue;
            }
            let Some(Tree { value: Value::Str(preset), at }) = loaded.tree.find(&path).cloned() else {
                continue;
            };
            match preset_tree(loaded, &preset, &at, folders) {
                Ok(stage) => {
                    replace(&mut loaded.tree, &path, stage);
                    loaded.presets.push((path, preset, at));
                }
                Err(problem) => {
                    loaded.problems.push(problem.node(name.clone()).key(parts.join(".")));
                    loaded.stand_ins.insert(path);
                }
            }
        }
    }
}

fn replace(tree: &mut Tree, path: &[String], value: Tree) {
    let target = path.iter().try_fold(tree, |tree, step| tree.child_mut(step));
    if let Some(target) = target {
        *target = value;
    }
}

/// The stage that a preset file holds.
pub fn preset_tree(
    loaded: &mut Loaded,
    path: &str,
    at: &Place,
    folders: &[PathBuf],
) -> Result<Tree, Box<Diagnostic>> {
    let preset = preset::find(path, folders).map_err(|problem| {
        let out = Diagnostic::error(at.clone(), format!("{problem}: {path:?}")).found(format!("{path:?}"));
        Box::new(match problem {
            NoPreset::Absent { looked, nearest } => {
                let looked: Vec<String> = looked.iter().map(|file| file.display().to_string()).collect();
                let mut out = out.expected("a preset's path, as `dinoflow stages` lists them").help(format!(
                    "looked for {}, and among the presets that are built in",
                    looked.join(", ")
                ));
                out.nearest = nearest;
                out
            }
            NoPreset::Unreadable { .. } => out.expected("a file of at most 1 MiB of UTF-8 text"),
        })
    })?;
    let id = loaded.origins.add(preset.name, preset.text.clone());
    parse(&preset.text, id)
}

/// Text of a file of at most [`LARGEST`] bytes.
///
/// # Errors
/// When the file can't be read, is larger, or is no UTF-8.
pub fn read_text(path: &FilePath) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "over 1 MiB, which no graph needs"));
    }
    Ok(text)
}
