//! A tensor as a pickle of PyTorch describes it: a storage, an offset, a size and strides.

use std::sync::Arc;

use crate::weights::pickle::{Object, Value};
use crate::weights::tensors::{AXES, Element, LONGEST_KEY, count};
use crate::weights::words::shown;

/// A described tensor. Its reach was held against its storage's announced length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The storage's name in the file.
    pub storage: Arc<str>,
    /// How many numbers the storage is said to have.
    pub numbers: usize,
    pub element: Element,
    /// Of the first number, in numbers.
    pub offset: usize,
    pub dims: Vec<usize>,
    /// How far apart neighbours along each axis lie, in numbers.
    pub strides: Vec<usize>,
}

/// How many times its own numbers a tensor's may span in their storage. What is cut out of another tensor spans a few.
const SCATTERED: usize = 16;
/// Numbers that one may always span.
const NARROW: usize = 1 << 16;

/// The tensor that a value describes; none of a value that describes no tensor.
///
/// # Errors
/// What is wrong with the description, in words.
pub fn describe(value: &Value) -> Result<Option<Described>, String> {
    let Value::Object(object) = value else { return Ok(None) };
    let arguments = object.arguments.members().unwrap_or_default();
    match (&*object.class, arguments) {
        (
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
            [storage, offset, dims, strides, ..],
        ) => tensor(storage, offset, dims, strides).map(Some),
        ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", [inner, ..]) => {
            parameter(inner).map(Some)
        }
        (class, _)
            if class.starts_with("torch._utils._rebuild") || class.starts_with("torch._tensor._rebuild") =>
        {
            Err(format!(
                "it is saved by way of {}, which is not read; save plain dense tensors",
                shown(class)
            ))
        }
        _ => Ok(None),
    }
}

/// What a parameter wraps: a tensor and nothing else.
fn parameter(inner: &Value) -> Result<Described, String> {
    let plain = |object: &&Object| object.class.starts_with("torch._utils._rebuild_tensor");
    match inner {
        Value::Object(object) if plain(&object.as_ref()) => {
            describe(inner)?.ok_or_else(|| "a parameter without a tensor".into())
        }
        other => Err(format!("a parameter around {}; expected a tensor", other.kind())),
    }
}

fn tensor(storage: &Value, offset: &Value, dims: &Value, strides: &Value) -> Result<Described, String> {
    let (storage, numbers, element) = reference(storage)?;
    let offset = index(offset).ok_or("its offset is no number from 0")?;
    let (dims, strides) = (indices(dims, "size")?, indices(strides, "strides")?);
    if dims.len() != strides.len() || dims.len() > AXES {
        return Err(format!(
            "its size has {} axes and its strides {}; expected as many, up to {AXES}",
            dims.len(),
            strides.len()
        ));
    }
    let all = count(&dims).ok_or_else(|| format!("its size {dims:?} overflows"))?;
    if all > numbers {
        return Err(format!("its size {dims:?} is more than its storage has ({numbers} numbers)"));
    }
    let reach = reach(offset, &dims, &strides);
    if all > 0 && reach.is_none_or(|reach| reach > numbers) {
        return Err(format!(
            "size {dims:?} with strides {strides:?} from {offset} reaches beyond its storage of {numbers} numbers"
        ));
    }
    let span = reach.map_or(0, |reach| reach - offset);
    if all > 0 && span > NARROW && span / SCATTERED > all {
        return Err(format!(
            "its {all} numbers lie scattered among {span} of their storage; save it contiguous (tensor.clone())"
        ));
    }
    Ok(Described { storage, numbers, element, offset, dims, strides })
}

impl Described {
    /// How many of its storage's numbers it needs, from the first to the last.
    pub fn span(&self) -> usize {
        reach(self.offset, &self.dims, &self.strides).map_or(0, |reach| reach - self.offset)
    }
}

/// How many numbers of the storage a tensor reaches over, from the storage's first; none when that overflows.
fn reach(offset: usize, dims: &[usize], strides: &[usize]) -> Option<usize> {
    let last = dims
        .iter()
        .zip(strides)
        .try_fold(offset, |sum, (&dim, &stride)| sum.checked_add(dim.saturating_sub(1).checked_mul(stride)?));
    last?.checked_add(1)
}

/// A storage's name, how many numbers it has and of which type.
pub fn reference(value: &Value) -> Result<(Arc<str>, usize, Element), String> {
    let parts = match value {
        Value::Persistent(id) => id.members().unwrap_or_default(),
        other => return Err(format!("its storage is {}; expected a reference to one", other.kind())),
    };
    let [word, class, key, _location, numbers, ..] = parts else {
        return Err("its storage is referred to in a way that PyTorch doesn't".into());
    };
    if word.text() != Some("storage") {
        return Err("its storage is referred to in a way that PyTorch doesn't".into());
    }
    if !matches!(parts.get(5), None | Some(Value::None)) {
        return Err("its storage is a view of another, as before PyTorch 0.4; save it anew".into());
    }
    let Value::Global(class) = class else { return Err(format!("its storage's type is {}", class.kind())) };
    let Value::Str(key) = key else { return Err("its storage has no name".into()) };
    if key.len() > LONGEST_KEY {
        return Err(format!("its storage's name has {} bytes; up to {LONGEST_KEY} are read", key.len()));
    }
    let numbers = index(numbers).ok_or("its storage's length is no number from 0")?;
    Ok((key.clone(), numbers, element(class)))
}

fn element(class: &Arc<str>) -> Element {
    match class.rsplit('.').next().unwrap_or_default() {
        "FloatStorage" => Element::F32,
        "HalfStorage" => Element::F16,
        "BFloat16Storage" => Element::Bf16,
        "DoubleStorage" => Element::F64,
        "LongStorage" => Element::I64,
        _ => Element::Other(class.clone()),
    }
}

fn index(value: &Value) -> Option<usize> {
    usize::try_from(value.int()?).ok()
}

fn indices(value: &Value, what: &str) -> Result<Vec<usize>, String> {
    let wrong = |found: String| format!("its {what} is {found}; expected numbers from 0");
    let members = value.members().ok_or_else(|| wrong(value.kind()))?;
    let number = |member: &Value| {
        let found = || member.int().map_or_else(|| member.kind(), |number| number.to_string());
        index(member).ok_or_else(|| wrong(format!("{} with {}", value.kind(), found())))
    };
    members.iter().map(number).collect()
}

/// A tensor's bytes in row-major order, out of those that it spans ([`Described::span`]) in its storage.
pub fn gather(tensor: &Described, spanned: Vec<u8>) -> Vec<u8> {
    let (width, dims, all) = (tensor.element.width(), &tensor.dims, count(&tensor.dims).unwrap_or(0));
    if row_major(dims, &tensor.strides) {
        return spanned;
    }
    let mut out = Vec::with_capacity(all * width);
    let mut at = vec![0; dims.len()];
    for _ in 0..all {
        let place: usize = at.iter().zip(&tensor.strides).map(|(at, stride)| at * stride).sum();
        out.extend_from_slice(&spanned[place * width..][..width]);
        for (at, &dim) in at.iter_mut().zip(dims).rev() {
            *at += 1;
            if *at < dim {
                break;
            }
            *at = 0;
        }
    }
    out
}

/// Whether numbers lie as they are wanted. The stride of an axis of one says nothing.
fn row_major(dims: &[usize], strides: &[usize]) -> bool {
    let mut step = 1;
    dims.iter().zip(strides).rev().all(|(&dim, &stride)| {
        let fits = dim == 1 || stride == step;
        step *= dim;
        fits
    })
}
