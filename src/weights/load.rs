//! From a file's tensors to a network's weights: names first, then shapes, then the numbers of those that are wanted.

use super::error::Cause;
use super::infer::{self, Shapes};
use super::judge::{Origin, Origins, judge};
use super::layout::layout;
use super::naming::{Format, Place};
use super::positions::Fold;
use super::report::{KeyReport, Left, Loaded};
use super::tensors::{Listed, Tensors, count, numbers};
use crate::graph::spec::NetworkSpec;
use crate::runtime::stage::{SavedTensor, State};

/// What a file's tensors are.
#[derive(Debug)]
pub struct Read {
    pub state: State,
    pub network: NetworkSpec,
    pub has_head: bool,
    pub keys: KeyReport,
}

/// Reads what `format` names of a file.
///
/// # Errors
/// When it is not the whole of a network of ours, or of more than ours, or its numbers can't be read or are none.
pub fn load(tensors: &mut dyn Tensors, format: Format) -> Result<Read, Cause> {
    let mut keys = KeyReport::default();
    let mut origins = places(tensors, format, &mut keys)?;
    let mut shapes = shapes(tensors.listed(), &origins)?;
    let fold = if format == Format::Timm { fold(&mut shapes) } else { None };
    let (mut network, has_head) = infer::network(&shapes)?;
    let layout = layout(&network, has_head);
    judge(tensors.listed(), &mut origins, (&shapes, &layout), &network, &mut keys)?;
    let mut state = numbers_of(tensors, &origins, &mut keys)?;
    keys.reshaped.extend(fold.and_then(|fold| fold.apply(&mut state)));
    // magnitudes that are all 1 are what `norm_last_layer` fixes them at
    if let Some(SavedTensor::F32 { values, .. }) = state.get("head.last_layer.weight_g") {
        network.head.norm_last_layer = values.iter().all(|&magnitude| magnitude == 1.0);
    }
    Ok(Read { state, network, has_head, keys })
}

/// Where every tensor of a file goes.
fn places(tensors: &dyn Tensors, format: Format, keys: &mut KeyReport) -> Result<Origins, Cause> {
    let mut origins = Origins::new();
    for (index, Listed { key, .. }) in tensors.listed().iter().enumerate() {
        let taken = match format.place(key) {
            Place::Left(reason) => {
                keys.left.push(Left { key: key.clone(), reason: reason.into() });
                false
            }
            Place::Whole(weight) => origins.insert(weight, Origin::Whole(index)).is_some(),
            Place::Third(weight, third) => {
                let origin = origins.entry(weight).or_insert(Origin::Thirds([None; 3]));
                match origin {
                    Origin::Thirds(thirds) => thirds[third].replace(index).is_some(),
                    Origin::Whole(_) => true,
                }
            }
        };
        if taken {
            return Err(Cause::tensor(
                key,
                "another tensor of the file is the same weight under another name",
            ));
        }
    }
    let others = tensors.others().iter();
    keys.left
        .extend(others.map(|(key, kind)| Left { key: key.clone(), reason: format!("no tensor but {kind}") }));
    Ok(origins)
}

/// The published shapes that a file's tensors come to.
fn shapes(listed: &[Listed], origins: &Origins) -> Result<Shapes, Cause> {
    let mut shapes = Shapes::new();
    for (weight, origin) in origins {
        let dims = match origin {
            Origin::Whole(index) => listed[*index].dims.clone(),
            Origin::Thirds(thirds) => {
                let parts = origin.parts().map(|index| &listed[index]).collect::<Vec<_>>();
                let (first, rest) =
                    parts.split_first().ok_or_else(|| Cause::tensor(weight, "no part of it is there"))?;
                if thirds.contains(&None) {
                    return Err(Cause::tensor(
                        &first.key,
                        "queries, keys and values are needed, and one of them is missing",
                    ));
                }
                if let Some(other) =
                    rest.iter().find(|other| other.dims != first.dims || other.element != first.element)
                {
                    let what = format!("it is {:?} and {} is {:?}", other.dims, first.key, first.dims);
                    return Err(Cause::tensor(&other.key, what));
                }
                let rows = first.dims.first().and_then(|rows| rows.checked_mul(3));
                let rows = rows.ok_or_else(|| Cause::tensor(&first.key, "it has no rows"))?;
                std::iter::once(rows).chain(first.dims[1..].iter().copied()).collect()
            }
        };
        shapes.insert(weight.clone(), dims);
    }
    Ok(shapes)
}

/// How timm's position embeddings come to ours; `shapes` then says what they will be.
fn fold(shapes: &mut Shapes) -> Option<Fold> {
    let registers = shapes.get("backbone.register_tokens").and_then(|dims| dims.get(1).copied()).unwrap_or(0);
    let dims = shapes.get_mut("backbone.pos_embed").filter(|dims| dims.len() == 3)?;
    let fold = Fold::of(dims[1], registers)?;
    dims[1] = fold.rows(dims[1]);
    Some(fold)
}

/// The numbers of the weights that are wanted.
fn numbers_of(tensors: &mut dyn Tensors, origins: &Origins, keys: &mut KeyReport) -> Result<State, Cause> {
    let (mut state, mut together) = (State::new(), 0u64);
    for (weight, origin) in origins {
        let mut parts = Vec::new();
        for index in origin.parts() {
            let listed = tensors.listed()[index].clone();
            // a number takes a byte or more of the file, unless tensors share theirs
            together = together.saturating_add(count(&listed.dims).unwrap_or(usize::MAX) as u64);
            if together > tensors.length() {
                return Err(Cause::tensor(
                    &listed.key,
                    "the tensors up to it have more numbers than the file has bytes",
                ));
            }
            let bytes = tensors.bytes(index)?;
            let part = numbers(&listed, &bytes)?;
            finite(&listed.key, &part)?;
            let element = listed.element.name().to_owned();
            keys.loaded.push(Loaded { key: listed.key, weight: weight.clone(), element });
            parts.push(part);
        }
        state.insert(weight.clone(), joined(weight, parts)?);
    }
    Ok(state)
}

fn finite(key: &str, tensor: &SavedTensor) -> Result<(), Cause> {
    let SavedTensor::F32 { values, .. } = tensor else { return Ok(()) };
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Cause::NotFinite { key: key.into(), found: values[at], at, len: values.len() }),
    }
}

/// A weight from its parts, which lie one after the other; it holds counts where batches are counted and floats elsewhere.
fn joined(weight: &str, parts: Vec<SavedTensor>) -> Result<SavedTensor, Cause> {
    let counts = weight.ends_with("num_batches_tracked");
    let (mut all, mut rows, mut rest) = (Vec::new(), 0, Vec::new());
    let alone = parts.len() == 1;
    for part in parts {
        match part {
            SavedTensor::U64 { .. } if counts && alone => return Ok(part),
            SavedTensor::F32 { .. } if alone && !counts => return Ok(part),
            SavedTensor::F32 { dims, values } if !counts => {
                rows += dims[0];
                rest = dims[1..].to_vec();
                all.extend(values);
            }
            _ => {
                let expected = if counts { "counts (int64)" } else { "floats" };
                return Err(Cause::tensor(
                    weight,
                    format!("it holds numbers of another kind; expected {expected}"),
                ));
            }
        }
    }
    let dims = std::iter::once(rows).chain(rest).collect();
    Ok(SavedTensor::F32 { dims, values: all })
}
