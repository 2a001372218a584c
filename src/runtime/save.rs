//! The island's state as a checkpoint's files, and back.

use std::collections::BTreeMap;

use super::channel::Stopped;
use super::fault::guard;
use super::firing::Firing;
use super::island::Island;
use super::stage::{SavedTensor, StageError, State, Value};
use crate::checkpoint::Saved;
use crate::kernels::Kernels;
use crate::plan::{NodeId, Plan};
use crate::stages::{EdgeType, Role};
use crate::tensor::Batched;

/// What a stage calls the tensors that go into a weights file.
const WEIGHTS: &str = "weights/";
/// What a feedback wire's tensor is called in the state of its producer.
const FEEDBACK: &str = "feedback/";

/// The weights file that a node's `weights/…` belong to: by its own role, or by that of the node its weights are lent to.
fn weights_file(plan: &Plan, node: NodeId) -> Option<&'static str> {
    let by_role = |node: NodeId| match plan.nodes[node.0].role {
        Role::Student => Some("student"),
        Role::Teacher => Some("teacher"),
        _ => None,
    };
    let lent = plan.edges.iter().filter(|e| e.from.node == node && e.ty == EdgeType::Weights);
    by_role(node).or_else(|| lent.map(|edge| edge.to.node).find_map(by_role))
}

/// Where a tensor of a node's state lies: the file's stem, and its name there.
fn place(plan: &Plan, node: NodeId, key: &str) -> (String, String) {
    match (key.strip_prefix(WEIGHTS), weights_file(plan, node)) {
        (Some(published), Some(stem)) => (stem.to_owned(), published.to_owned()),
        _ => ("state".to_owned(), format!("{}/{key}", plan.nodes[node.0].name)),
    }
}

impl<D: Kernels> Island<'_, D> {
    /// Every stage's state and every feedback wire's tensor. Lent weights are part of their owner's state.
    pub fn save(&mut self, step: u64) -> Result<Saved, Stopped> {
        let plan = self.run.plan;
        let mut saved = Saved::default();
        saved.files.insert("state".to_owned(), State::new());
        for (index, node) in plan.nodes.iter().enumerate() {
            let Some(stage) = &self.stages[index] else { continue };
            let state = guard(|| {
                let mut state = stage.save()?;
                self.save_feedback(NodeId(index), &mut state)?;
                Ok(state)
            });
            let state = state.map_err(|cause| self.run.fail(node.name.clone(), step, cause))?;
            for (key, tensor) in state {
                let (stem, name) = place(plan, NodeId(index), &key);
                if stem != "state" {
                    saved.owners.insert(format!("{stem}/{name}"), node.name.clone());
                }
                if saved.files.entry(stem.clone()).or_default().insert(name.clone(), tensor).is_some() {
                    let cause = StageError::Bug(format!("two stages save {name} in {stem}.safetensors"));
                    return Err(self.run.fail(node.name.clone(), step, cause));
                }
            }
        }
        Ok(saved)
    }

    fn save_feedback(&self, node: NodeId, state: &mut State) -> Result<(), StageError> {
        let firing = Firing::forward(self.run.plan, node);
        for (port, edges) in firing.outputs.iter().enumerate() {
            let token = edges.iter().find_map(|edge| self.slots[edge.0].token());
            if let Some(Value::Tensor(tensor)) = token {
                let values = tensor.to_host().map_err(|e| StageError::Device(e.to_string()))?;
                let name = self.run.plan.nodes[node.0].outputs[port].name;
                let saved = SavedTensor::F32 { dims: tensor.dims.clone(), values };
                state.insert(format!("{FEEDBACK}{name}"), saved);
            }
        }
        Ok(())
    }

    /// Gives every stage its state back, then fills the feedback wires.
    pub fn restore(&mut self, saved: Saved, step: u64) -> Result<(), Stopped> {
        let plan = self.run.plan;
        let mut states = self.sort(saved, step)?;
        let mut feedback = Vec::new();
        for (index, node) in plan.nodes.iter().enumerate() {
            let Some(stage) = self.stages[index].as_mut() else { continue };
            let all = states.remove(&node.name).unwrap_or_default().into_iter();
            let (tokens, state): (State, State) = all.partition(|(key, _)| key.starts_with(FEEDBACK));
            feedback.extend(tokens.into_iter().map(|(key, tensor)| (NodeId(index), key, tensor)));
            guard(|| stage.restore(state)).map_err(|cause| self.run.fail(node.name.clone(), step, cause))?;
        }
        self.first()?;
        feedback.into_iter().try_for_each(|(node, key, saved)| self.restore_feedback(node, &key, saved, step))
    }

    /// The saved tensors by the node that saved them, under the names that it gave them.
    fn sort(&self, saved: Saved, step: u64) -> Result<BTreeMap<String, State>, Stopped> {
        let mut states: BTreeMap<String, State> = BTreeMap::new();
        for (stem, tensors) in saved.files {
            for (name, tensor) in tensors {
                let owned = match saved.owners.get(&format!("{stem}/{name}")) {
                    Some(node) => Some((node.clone(), format!("{WEIGHTS}{name}"))),
                    None => name.split_once('/').map(|(node, key)| (node.to_owned(), key.to_owned())),
                };
                let node = owned
                    .as_ref()
                    .and_then(|(owner, _)| self.run.plan.nodes.iter().position(|node| node.name == *owner));
                match (owned, node) {
                    (Some((owner, key)), Some(_)) => states.entry(owner).or_default().insert(key, tensor),
                    _ => {
                        let cause =
                            StageError::Restore(format!("{name} in {stem}.safetensors is no stage's"));
                        return Err(self.run.fail("checkpoint".into(), step, cause));
                    }
                };
            }
        }
        Ok(states)
    }

    fn restore_feedback(
        &mut self,
        node: NodeId,
        key: &str,
        saved: SavedTensor,
        step: u64,
    ) -> Result<(), Stopped> {
        let plan = self.run.plan;
        let port = plan.nodes[node.0].outputs.iter().position(|p| key.strip_prefix(FEEDBACK) == Some(p.name));
        let (Some(port), SavedTensor::F32 { dims, values }) = (port, saved) else {
            let cause = StageError::Restore(format!("{key} is not one of its outputs"));
            return Err(self.run.fail(plan.nodes[node.0].name.clone(), step, cause));
        };
        for edge in &Firing::forward(plan, node).outputs[port] {
            let batch = match &plan.edges[edge.0].ty {
                EdgeType::Tensor { batch: Some((axis, _)), .. } => Some(*axis),
                _ => None,
            };
            if self.slots[edge.0].token().is_some() {
                let tensor = Batched::from_host(&self.device, values.clone(), dims.clone(), batch);
                let tensor = tensor.map_err(|e| {
                    self.run.fail(plan.nodes[node.0].name.clone(), step, StageError::Device(e.to_string()))
                })?;
                self.slots[edge.0].set_token(Value::Tensor(tensor));
            }
        }
        Ok(())
    }
}
