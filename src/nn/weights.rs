//! A network's weights under their published names: to and from saved tensors, and from a file to start with.

use std::path::Path;
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};

use super::architectures;
use super::network::Lent;
use super::parameter::{Mut, Ref};
use super::statistics::Averages;
use crate::graph::spec::{Init, NetworkSpec};
use crate::kernels::{Kernels, Products};
use crate::runtime::stage::{SavedTensor, StageError, State};
use crate::tensor::{Device, Float};

/// The graph's network with its first weights.
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
        let mut state = read(path)?;
        load(device, owned.parameters_mut(), &mut state, "")
            .map_err(|e| StageError::Data(format!("{}: {e}", path.display())))?;
        if let Some(key) = state.keys().find(|key| !is_statistic(key)) {
            let more = state.len() - 1;
            return Err(StageError::Data(format!(
                "{}: {key} (and {more} more) is not a weight of this network; the graph's `network` must be the file's",
                path.display()
            )));
        }
    }
    Ok(network)
}

/// What the batch norms of the graph's network have seen at the start: what the file of `init: Weights(…)` says, or nothing.
///
/// # Errors
/// [`StageError::Data`] when that file is not there or what it says of a norm is not whole.
pub fn first_statistics(spec: &NetworkSpec, averages: &Averages) -> Result<(), StageError> {
    let Init::Weights(path) = &spec.init else { return Ok(()) };
    let torn = |key| StageError::Data(format!("{}: the statistics of {key} are incomplete", path.display()));
    averages.begin(&read(path)?).map_err(torn)
}

/// A device's failure as a stage's.
pub fn failed<E: std::fmt::Display>(error: E) -> StageError {
    StageError::Device(error.to_string())
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

/// The tensors of a safetensors file.
fn read(path: &Path) -> Result<State, StageError> {
    let wrong = |e: &dyn std::fmt::Display| StageError::Data(format!("{}: {e}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| wrong(&e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(&e))?;
    let mut state = State::new();
    for (name, view) in file.iter() {
        let dims = view.shape().to_vec();
        let four = |b: &[u8]| Float::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let saved = match view.dtype() {
            Dtype::F32 => SavedTensor::F32 { dims, values: view.data().chunks_exact(4).map(four).collect() },
            _ if is_statistic(name) => continue,
            other => return Err(wrong(&format!("{name} holds {other:?}; 32-bit floats are read"))),
        };
        state.insert(name.to_string(), saved);
    }
    Ok(state)
}
