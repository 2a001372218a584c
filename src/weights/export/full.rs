//! A whole checkpoint as the published training writes it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use super::{Opened, Request, Target, folder, rename, write};
use crate::runtime::stage::SavedTensor;
use crate::weights::error::{Cause, WeightsError};
use crate::weights::naming::Format;
use crate::weights::safetensors::Safetensors;
use crate::weights::tensors::{Tensors, numbers};
use crate::weights::torch::write::Item;

/// Writes `student` (keys under `module.`), `teacher`, `epoch` and `dino_loss.center`; how many tensors they have.
///
/// # Errors
/// When there are not two networks and their heads, or the file can't be written.
pub fn write(request: &Request, student: &Opened, teacher: &Opened) -> Result<usize, WeightsError> {
    let about = |cause: Cause| cause.of(&request.from);
    let two = teacher.format == Format::PublishedFull || request.from.is_dir();
    if !two || !student.has_head || !teacher.has_head {
        let what = "a whole checkpoint is of a student and a teacher with their heads: name a run or a checkpoint's folder";
        return Err(about(Cause::Request(what.into())));
    }
    let mut notes = Vec::new();
    let mut named = |opened| rename::all(opened, Target::DinoFull, &mut notes).map_err(about);
    let (student, teacher) = (named(student)?, named(teacher)?);
    let (center, epoch) = beside(request).map_err(about)?;
    let mut whole = vec![
        ("student".to_owned(), dictionary(&student, "module.")),
        ("teacher".to_owned(), dictionary(&teacher, "")),
        ("epoch".to_owned(), Item::Int(epoch)),
    ];
    if let Some(center) = &center {
        let center = vec![("center".to_owned(), Item::Tensor(center))];
        whole.push(("dino_loss".to_owned(), Item::Dict(center)));
    }
    let tensors = student.len() + teacher.len() + usize::from(center.is_some());
    write::torch(&request.out, &Item::Dict(whole))?;
    Ok(tensors)
}

fn dictionary<'a>(state: &'a super::Named, prefix: &str) -> Item<'a> {
    Item::Dict(state.iter().map(|(key, tensor)| (format!("{prefix}{key}"), Item::Tensor(tensor))).collect())
}

/// The centre (1, K) and the number of complete epochs, where a checkpoint of ours tells.
fn beside(request: &Request) -> Result<(Option<SavedTensor>, i64), Cause> {
    let found = folder::find(&request.from, request.which).map_err(|e| e.cause)?;
    let checkpoint = found.file.parent().unwrap_or(Path::new("."));
    let state = checkpoint.join("state.safetensors");
    let center = if state.is_file() { center(&state)? } else { None };
    let step = checkpoint.file_name().and_then(|name| name.to_str()?.strip_prefix("step-")?.parse().ok());
    let metrics = checkpoint.join("../../metrics.jsonl");
    let epoch = step.and_then(|step| epochs(&metrics, step)).unwrap_or(0);
    Ok((center, epoch as i64))
}

/// The centre among the states of a run's stages, whatever the node's name.
fn center(state: &Path) -> Result<Option<SavedTensor>, Cause> {
    let mut tensors = Safetensors::open(state)?;
    let place =
        tensors.listed().iter().position(|listed| listed.key.ends_with("/center") && listed.dims.len() == 1);
    let Some(index) = place else { return Ok(None) };
    let listed = tensors.listed()[index].clone();
    Ok(match numbers(&listed, &tensors.bytes(index)?)? {
        SavedTensor::F32 { dims, values } => Some(SavedTensor::F32 { dims: vec![1, dims[0]], values }),
        SavedTensor::U64 { .. } => None,
    })
}

/// Complete epochs before a step, by the record of the run: the first step of the second epoch tells how long one is.
fn epochs(metrics: &Path, step: u64) -> Option<u64> {
    let lines = BufReader::new(File::open(metrics).ok()?).lines().map_while(Result::ok);
    let number = |line: &Value, key: &str| line.get(key).and_then(Value::as_u64);
    let length = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()).find_map(|line| {
        let is_step = line.get("event").and_then(Value::as_str) == Some("step");
        (is_step && number(&line, "epoch")? == 1).then(|| number(&line, "step"))?
    });
    Some(step / length.filter(|&length| length > 0)?)
}
