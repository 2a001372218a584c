//! What the doctor knows of a graph: by role the node's name, its stage and that stage's parameters.

use serde_json::Value;

use crate::plan::Plan;
use crate::stages::{EdgeType, Role};

/// A graph as a patient.
#[derive(Clone, Debug)]
pub struct Subject {
    /// K, as the targets have it.
    pub prototypes: Option<usize>,
    /// Updates in the whole run, where known.
    pub total_steps: Option<u64>,
    pub global_batch: usize,
    /// The graph's `network`.
    pub network: Value,
    nodes: Vec<(Role, Patient)>,
}

/// One node: stages are told apart by name and their parameters read by name, so that the doctor need not know every variant.
#[derive(Clone, Debug)]
pub struct Patient {
    pub name: String,
    pub kind: String,
    parameters: Value,
}

impl Subject {
    /// What a plan tells.
    pub fn of(plan: &Plan) -> Self {
        let patient = |node: &crate::plan::PlanNode| {
            let kind = node.stage.kind().to_owned();
            // a stage whose parameters can't be written out is known by its name alone
            let written = serde_json::to_value(&node.stage).unwrap_or_default();
            let parameters = written.get(&kind).cloned().unwrap_or_default();
            (node.role.clone(), Patient { name: node.name.clone(), kind, parameters })
        };
        let center = plan.nodes.iter().find(|node| node.role == Role::Center);
        let prototypes = center.and_then(|center| match &center.produces.first()?.0 {
            EdgeType::Tensor { dims, .. } => dims.last().copied(),
            _ => None,
        });
        Subject {
            prototypes,
            total_steps: plan.total_steps,
            global_batch: plan.batch.global,
            network: serde_json::to_value(&plan.graph.network).unwrap_or_default(),
            nodes: plan.nodes.iter().map(patient).collect(),
        }
    }

    /// The first node of a role.
    pub fn node(&self, role: &Role) -> Option<&Patient> {
        self.nodes.iter().find(|(own, _)| own == role).map(|(_, patient)| patient)
    }

    /// Whether `loss` less the targets' entropy is a divergence: of a cross-entropy to the teacher's targets, and so it is taken of
    /// a loss that the doctor does not know.
    pub fn has_divergence(&self) -> bool {
        const WITHOUT: [&str; 3] = ["MeanSquaredError", "InfoNce", "SwappedPrediction"];
        self.node(&Role::Loss).is_none_or(|loss| !WITHOUT.contains(&loss.kind.as_str()))
    }
}

impl Patient {
    /// A number among the parameters, by its dotted path; none where it is not there.
    pub fn number(&self, path: &str) -> Option<f64> {
        find(&self.parameters, path)?.as_f64()
    }

    /// The highest value that a schedule among the parameters takes.
    pub fn highest(&self, name: &str) -> Option<f64> {
        let schedule = find(&self.parameters, name)?;
        let number = |path: &str| find(schedule, path).and_then(Value::as_f64);
        let ends = ["Constant", "Linear.from", "Linear.to", "Cosine.from", "Cosine.to"];
        ends.into_iter().filter_map(number).reduce(f64::max)
    }

    /// A parameter as it is.
    pub fn value(&self, path: &str) -> Option<&Value> {
        find(&self.parameters, path)
    }
}

/// A value by its dotted path.
pub fn find<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, step| value.get(step))
}

#[cfg(test)]
impl Subject {
    /// A graph of which only this is known.
    pub fn made(network: Value, nodes: Vec<(Role, Patient)>) -> Self {
        Subject { prototypes: Some(16), total_steps: None, global_batch: 1024, network, nodes }
    }
}

#[cfg(test)]
impl Patient {
    pub fn new(name: &str, kind: &str, parameters: Value) -> Self {
        Patient { name: name.into(), kind: kind.into(), parameters }
    }
}
