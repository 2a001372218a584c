//! From a file's tensors to a network's weights: names first, then shapes, then the numbers of those that are wanted.

use super::error::Cause;
use super::infer::{self, Shapes};
use super::judge::{Origin, Origins, essential, judge};
use super::layout::layout;
use super::naming::{Format, Place};
use super::positions::{Fold, Said};
use super::report::{KeyReport, Left, Loaded};
use super::tensors::{Element, Listed, Tensors, count, numbers};
use super::words::shown;
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

/// Reads what `format` names of a file; `said` is what settings beside it say of its position embeddings.
///
/// # Errors
/// When it is not the whole of a network of ours, or of more than ours, or its numbers can't be read or are none.
pub fn load(tensors: &mut dyn Tensors, format: Format, said: Said) -> Result<Read, Cause> {
    let mut keys = KeyReport::default();
    let mut origins = places(tensors, format, &mut keys)?;
    let mut shapes = shapes(tensors.listed(), &origins)?;
    let fold = if format == Format::Timm { fold(&mut shapes, said)? } else { None };
    let (mut network, has_head) = infer::network(&shapes)?;
    let layout = layout(&network, has_head);
    judge(tensors.listed(), &mut origins, (&shapes, &layout), &network, &mut keys)?;
    said.hold(&network)?;
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
    unreadable(tensors, format, keys)?;
    let others = tensors.others().iter();
    keys.left
        .extend(others.map(|(key, kind)| Left { key: key.clone(), reason: format!("no tensor but {kind}") }));
    Ok(origins)
}

/// Tensors that can't be read: wrong where features need them, left over elsewhere.
fn unreadable(tensors: &dyn Tensors, format: Format, keys: &mut KeyReport) -> Result<(), Cause> {
    for (key, what) in tensors.unreadable() {
        match format.place(key) {
            Place::Whole(weight) | Place::Third(weight, _) if essential(&weight) => {
                return Err(Cause::tensor(key, what));
            }
            _ => keys.left.push(Left { key: key.into(), reason: format!("not read: {}", shown(&what)) }),
        }
    }
    Ok(())
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
                    let what =
                        format!("it is {:?} and {} is {:?}", other.dims, shown(&first.key), first.dims);
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
fn fold(shapes: &mut Shapes, said: Said) -> Result<Option<Fold>, Cause> {
    let registers = shapes.get("backbone.register_tokens").and_then(|dims| dims.get(1).copied()).unwrap_or(0);
    let Some(dims) = shapes.get_mut("backbone.pos_embed").filter(|dims| dims.len() == 3) else {
        return Ok(None);
    };
    let fold = Fold::of(dims[1], registers, said.no_embed_class)?;
    if let Some(fold) = fold {
        dims[1] = fold.rows(dims[1]);
    }
    Ok(fold)
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
            sound(&listed, weight, &bytes, &part)?;
            let element = listed.element.name().to_owned();
            keys.loaded.push(Loaded { key: listed.key, weight: weight.clone(), element });
            parts.push(part);
        }
        state.insert(weight.clone(), joined(weight, parts)?);
    }
    Ok(state)
}

/// Holds numbers against what they are for: all are finite, and a variance is not below 0.
fn sound(listed: &Listed, weight: &str, bytes: &[u8], tensor: &SavedTensor) -> Result<(), Cause> {
    let SavedTensor::F32 { values, .. } = tensor else { return Ok(()) };
    let (key, len) = (&listed.key, values.len());
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(match double(listed, bytes, at).filter(|double| double.is_finite()) {
            Some(double) => {
                let what = format!("{double:e} at position {at} (of {len}) is more than float32 holds");
                Cause::tensor(key, what)
            }
            None => Cause::NotFinite { key: key.clone(), found: values[at], at, len },
        });
    }
    let below = values.iter().position(|&value| value < 0.0).filter(|_| weight.ends_with(".running_var"));
    below.map_or(Ok(()), |at| {
        let what = format!("{} at position {at} (of {len}): a variance is not below 0", values[at]);
        Err(Cause::tensor(key, what))
    })
}

/// A number of a float64 tensor as it stands in the file.
fn double(listed: &Listed, bytes: &[u8], at: usize) -> Option<f64> {
    let eight = bytes.as_chunks::<8>().0.get(at).filter(|_| listed.element == Element::F64)?;
    Some(f64::from_le_bytes(*eight))
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
