//! Our weights under the names of others.

use super::{Named, Target};
use crate::graph::spec::NetworkSpec;
use crate::runtime::stage::{SavedTensor, State};
use crate::weights::Opened;
use crate::weights::error::Cause;
use crate::weights::layout::{Part, Weight, layout};
use crate::weights::naming::Names;
use crate::weights::positions::with_registers;

/// All weights of a network that a target holds, under its names.
///
/// # Errors
/// When there is a weight that it has no place for, with what to use instead.
pub fn all(opened: &Opened, target: Target, notes: &mut Vec<String>) -> Result<Named, Cause> {
    let mut state = opened.state.clone();
    complete(&opened.network, opened.has_head, &mut state, notes);
    if !target.has_head() {
        let before = state.len();
        state.retain(|key, _| key.starts_with("backbone."));
        if state.len() < before {
            notes.push(format!(
                "the head's {} tensors have no place there and are left out",
                before - state.len()
            ));
        }
    }
    if target == Target::Timm {
        positions_of_registers(&opened.network, &mut state);
    }
    let mut named = Named::new();
    for (key, tensor) in state {
        match target.format().names(&key).map_err(Cause::Request)? {
            Names::One(name) => drop(named.insert(name, tensor)),
            Names::Three(names) => named.extend(thirds(&key, names, tensor)?),
        }
    }
    Ok(named)
}

/// Adds what batch norms start with where a file says nothing of what they have seen: other programs want it said.
fn complete(network: &NetworkSpec, has_head: bool, state: &mut State, notes: &mut Vec<String>) {
    let absent = absent(network, has_head, state);
    notes.extend(note(absent.len()));
    for (key, weight) in absent {
        let dims = weight.dims;
        let len = dims.iter().product();
        let first = if key.ends_with("running_var") { 1.0 } else { 0.0 };
        let tensor = match key.ends_with("num_batches_tracked") {
            true => SavedTensor::U64 { dims, values: vec![0; len] },
            false => SavedTensor::F32 { dims, values: vec![first; len] },
        };
        state.insert(key, tensor);
    }
}

/// What batch norms have seen and a state says nothing of.
fn absent(network: &NetworkSpec, has_head: bool, state: &State) -> Vec<(String, Weight)> {
    let all = layout(network, has_head).into_iter();
    all.filter(|(key, weight)| weight.part == Part::Statistic && !state.contains_key(key)).collect()
}

/// What is to be said where statistics of a backbone's batch norms stand at what they start with.
pub fn completed(opened: &Opened) -> Option<String> {
    note(absent(&opened.network, false, &opened.state).len())
}

fn note(added: usize) -> Option<String> {
    let what = "statistics are PyTorch's first ones (mean 0, variance 1)";
    (added > 0).then(|| format!("batch norms have seen nothing yet: {added} {what}"))
}

fn positions_of_registers(network: &NetworkSpec, state: &mut State) {
    let Some((vit, _)) = network.backbone.vit().filter(|(vit, _)| vit.registers > 0) else { return };
    if let Some(tensor) = state.get_mut("backbone.pos_embed")
        && let SavedTensor::F32 { dims, values } = tensor
    {
        *tensor = with_registers(dims, values, vit.registers);
    }
}

/// A tensor's rows in three parts: queries, keys and values.
fn thirds(key: &str, names: [String; 3], tensor: SavedTensor) -> Result<Vec<(String, SavedTensor)>, Cause> {
    let SavedTensor::F32 { mut dims, values } = tensor else {
        return Err(Cause::tensor(key, "it holds counts; expected floats"));
    };
    dims[0] /= 3;
    let part = values.len() / 3;
    let third = |(name, values): (String, &[f32])| {
        (name, SavedTensor::F32 { dims: dims.clone(), values: values.to_vec() })
    };
    Ok(names.into_iter().zip(values.chunks_exact(part.max(1))).map(third).collect())
}
