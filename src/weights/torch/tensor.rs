//! A tensor as a pickle of PyTorch describes it: a storage, an offset, a size and strides.

use crate::weights::pickle::{Object, Value};
use crate::weights::tensors::{Element, count};

/// A described tensor. Its reach was held against its storage's announced length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The storage's name in the file.
    pub storage: String,
    /// How many numbers the storage is said to have.
    pub numbers: usize,
    pub element: Element,
    /// Of the first number, in numbers.
    pub offset: usize,
    pub dims: Vec<usize>,
    /// How far apart neighbours along each axis lie, in numbers.
    pub strides: Vec<usize>,
}

/// The most axes of a tensor; weights have four.
const AXES: usize = 8;

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
            Err(format!("it is saved by way of {class}, which is not read; save plain dense tensors"))
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
    Ok(Described { storage, numbers, element, offset, dims, strides })
}

/// How many numbers of the storage a tensor needs; none when that overflows.
fn reach(offset: usize, dims: &[usize], strides: &[usize]) -> Option<usize> {
    let last = dims
        .iter()
        .zip(strides)
        .try_fold(offset, |sum, (&dim, &stride)| sum.checked_add(dim.saturating_sub(1).checked_mul(stride)?));
    last?.checked_add(1)
}

/// A storage's name, how many numbers it has and of which type.
pub fn reference(value: &Value) -> Result<(String, usize, Element), String> {
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
    let key = key.text().ok_or("its storage has no name")?;
    let numbers = index(numbers).ok_or("its storage's length is no number from 0")?;
    Ok((key.to_owned(), numbers, element(class)))
}

fn element(class: &str) -> Element {
    match class.rsplit('.').next().unwrap_or(class) {
        "FloatStorage" => Element::F32,
        "HalfStorage" => Element::F16,
        "BFloat16Storage" => Element::Bf16,
        "DoubleStorage" => Element::F64,
        "LongStorage" => Element::I64,
        _ => Element::Other(class.to_owned()),
    }
}

fn index(value: &Value) -> Option<usize> {
    usize::try_from(value.int()?).ok()
}

fn indices(value: &Value, what: &str) -> Result<Vec<usize>, String> {
    let all = value.members().and_then(|members| members.iter().map(index).collect());
    all.ok_or_else(|| format!("its {what} is {}; expected numbers from 0", value.kind()))
}

/// A tensor's bytes in row-major order, out of its storage's, which hold as many numbers as the description says.
pub fn gather(tensor: &Described, storage: &[u8]) -> Vec<u8> {
    let (width, dims, all) = (tensor.element.width(), &tensor.dims, count(&tensor.dims).unwrap_or(0));
    if row_major(dims, &tensor.strides) {
        return storage[tensor.offset * width..][..all * width].to_vec();
    }
    let mut out = Vec::with_capacity(all * width);
    let mut at = vec![0; dims.len()];
    for _ in 0..all {
        let place: usize =
            tensor.offset + at.iter().zip(&tensor.strides).map(|(at, stride)| at * stride).sum::<usize>();
        out.extend_from_slice(&storage[place * width..][..width]);
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
