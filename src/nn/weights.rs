//! A network's weights under their published names: to and from saved tensors, and from a file of any known format to start with.

use std::path::Path;
use std::sync::Arc;

use super::architectures;
use super::network::Lent;
use super::parameter::{Mut, Ref};
use super::statistics::Averages;
use crate::graph::spec::{Init, NetworkSpec};
use crate::kernels::{Kernels, Products};
use crate::runtime::stage::{SavedTensor, StageError, State};
use crate::tensor::Device;
use crate::weights::{self, Opened, Which};

/// The graph's network with its first weights. Of a file without a head, the head is drawn from the seed.
///
/// # Errors
/// [`StageError::Data`] when the file of `init: Weights(…)` is not there or does not fit the network, key by key.
pub fn first<D: Kernels>(
    device: &D,
    spec: &NetworkSpec,
    products: Products,
    seed: u64,
) -> Result<Lent<D>, StageError> {
    let mut network = architectures::build(device, spec, products, seed).map_err(failed)?;
    if let Init::Weights(path) = &spec.init {
        let owned = Arc::get_mut(&mut network)
            .ok_or_else(|| StageError::Bug("a network that was just made is shared".into()))?;
        let Opened { mut state, has_head, network: theirs, .. } = fitted(path, spec)?;
        let (ours, theirs) = (spec.backbone.label(), theirs.backbone.label());
        let about = |what: &str| {
            let file = path.display();
            StageError::Data(format!(
                "{file}: {what}; the file is of {theirs}, the graph's network is {ours}"
            ))
        };
        let mut wanted = owned.parameters_mut();
        wanted.retain(|parameter| has_head || !parameter.name.starts_with("head."));
        if let Some(what) = misfit(&wanted, &state) {
            return Err(about(&what));
        }
        load(device, wanted, &mut state, "").map_err(|e| about(&e.to_string()))?;
        if let Some(key) = state.keys().find(|key| !is_statistic(key)) {
            let more = state.len() - 1;
            return Err(about(&format!("{key} (and {more} more) is not a weight of the graph's network")));
        }
    }
    Ok(network)
}

/// The first weight that the file has in another shape. Position embeddings come last, for their shape follows from others.
fn misfit<D: Device>(wanted: &[Mut<'_, D>], state: &State) -> Option<String> {
    let shape = |key: &str| match state.get(key) {
        Some(SavedTensor::F32 { dims, .. }) => Some(dims),
        _ => None,
    };
    let (positions, others): (Vec<_>, Vec<_>) =
        wanted.iter().partition(|parameter| parameter.name.ends_with("pos_embed"));
    others.into_iter().chain(positions).find_map(|Mut { name, dims, .. }| {
        let found = shape(name).filter(|found| *found != dims)?;
        Some(format!("{name} is {found:?} in the file and {dims:?} in the graph's network"))
    })
}

/// What batch norms of the graph's network have seen at the start: what the file of `init: Weights(…)` says, or nothing.
///
/// # Errors
/// [`StageError::Data`] when that file is not there or what it says of a norm is not whole.
pub fn first_statistics(spec: &NetworkSpec, averages: &Averages) -> Result<(), StageError> {
    let Init::Weights(path) = &spec.init else { return Ok(()) };
    let torn = |key| StageError::Data(format!("{}: the statistics of {key} are incomplete", path.display()));
    averages.begin(&fitted(path, spec)?.state).map_err(torn)
}

/// What is to be said of the file of `init: Weights(…)` before a run starts from it: what it is, what is left over, resampled, or drawn
/// from the seed all the same. Nothing where the seed draws everything.
///
/// # Errors
/// [`StageError::Data`] when that file is not there or can't be used.
pub fn introduce(spec: &NetworkSpec) -> Result<Option<String>, StageError> {
    let Init::Weights(path) = &spec.init else { return Ok(None) };
    let Opened { network, format, has_head, keys, .. } = fitted(path, spec)?;
    let (file, label) = (path.display(), network.backbone.label());
    let head = if has_head { "" } else { "\nhead       not in the file; drawn from the graph's seed" };
    Ok(Some(format!("first weights: {file} ({}, {label})\n{keys}{head}", format.label())))
}

/// The file of the first weights, its position embeddings laid out for the graph's pictures.
fn fitted(path: &Path, spec: &NetworkSpec) -> Result<Opened, StageError> {
    let wrong = |e: &dyn std::fmt::Display| StageError::Data(e.to_string());
    let mut opened = weights::open(path, Which::default()).map_err(|e| wrong(&e))?;
    let (ours, theirs) = (&spec.backbone, &opened.network.backbone);
    if theirs.vit().is_some() && theirs.label() == ours.label() && theirs.image() != ours.image() {
        let resized = weights::resize(&mut opened.network, &mut opened.state, ours.image());
        opened.keys.reshaped.extend(resized.map_err(|e| wrong(&e.of(path)))?);
    }
    Ok(opened)
}

/// A device's failure as a stage's.
pub fn failed<E: std::fmt::Display>(error: E) -> StageError {
    let text = error.to_string();
    // the drivers' words for it, which dfdx passes on
    if ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"].iter().any(|word| text.contains(word)) {
        return StageError::Device(format!(
            "its memory is full ({text}). A smaller micro_batch, or --set network.recompute=Blocks, takes less for the same step; \
             other programs on the card take their part too"
        ));
    }
    StageError::Device(text)
}

fn is_statistic(key: &str) -> bool {
    ["running_mean", "running_var", "num_batches_tracked"].iter().any(|suffix| key.ends_with(suffix))
}

/// Every parameter as a saved tensor under `prefix` + its published key.
pub fn save<D: Device>(device: &D, parameters: Vec<Ref<'_, D>>, prefix: &str) -> Result<State, StageError> {
    let entry = |p: Ref<'_, D>| {
        let values = device.read(p.tensor.view()).map_err(failed)?;
        Ok((format!("{prefix}{}", p.name), SavedTensor::F32 { dims: p.dims, values }))
    };
    parameters.into_iter().map(entry).collect()
}

/// Takes every parameter out of `state`, where they stand under `prefix`.
pub fn load<D: Device>(
    device: &D,
    parameters: Vec<Mut<'_, D>>,
    state: &mut State,
    prefix: &str,
) -> Result<(), StageError> {
    for parameter in parameters {
        let key = format!("{prefix}{}", parameter.name);
        match state.remove(&key) {
            Some(SavedTensor::F32 { dims, values }) if dims == parameter.dims => {
                device.write(parameter.tensor.view_mut(), &values).map_err(failed)?;
            }
            Some(SavedTensor::F32 { dims, .. }) => {
                let expected = parameter.dims;
                return Err(StageError::Restore(format!("{key} is {dims:?}, the network's is {expected:?}")));
            }
            Some(_) => return Err(StageError::Restore(format!("{key} does not hold 32-bit floats"))),
            None => return Err(StageError::Restore(format!("{key} is missing"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
