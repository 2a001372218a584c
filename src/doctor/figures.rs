//! What the doctor reads off a step as it runs: used prototypes, agreement, effective rank.

use crate::kernels::Kernels;
use crate::nn::weights::failed;
use crate::plan::{NodeId, Plan};
use crate::runtime::stage::{Moment, StageError, Value};
use crate::runtime::watch::Watch;
use crate::stages::{EdgeType, Role};
use crate::tensor::{Batched, Device};

/// A port of a node: the node, and the port's index.
type Port = (NodeId, usize);

/// Looks on at the ports where targets are made, where the student's logits are compared with them, and where the teacher's
/// features leave.
pub struct Figures<D: Device> {
    device: D,
    /// Output `targets` of the role `center`, (views, B, K), and how many views those are.
    targets: Option<Port>,
    views: usize,
    /// Input `logits` of the role `loss`: the student's, or its predictor's.
    student: Option<Port>,
    /// Output `cls` of the teacher.
    features: Option<Port>,
    seen: Seen,
}

/// What was seen in this step so far.
#[derive(Default)]
struct Seen {
    prototypes: usize,
    /// The first choice of each target, by view and picture.
    teacher: Vec<u32>,
    /// The student's first choices on each global view, by picture.
    student: Vec<Vec<u32>>,
    /// The teacher's features, and their width.
    features: Vec<f32>,
    width: usize,
}

impl<D: Device> Figures<D> {
    /// For the nodes of a plan; roles that it has not are not looked at.
    pub fn new(plan: &Plan, device: &D) -> Self {
        let find = |role: Role| plan.nodes.iter().position(|node| node.role == role);
        let output = |role: Role, name: &str| {
            let node = find(role)?;
            let port = plan.nodes[node].outputs.iter().position(|port| port.name == name)?;
            Some((NodeId(node), port))
        };
        let input = |role: Role, name: &str| {
            let node = find(role)?;
            let port = plan.nodes[node].inputs.iter().position(|port| port.name == name)?;
            Some((NodeId(node), port))
        };
        let targets = output(Role::Center, "targets");
        let views = targets.and_then(|(node, port)| match &plan.nodes[node.0].produces.get(port)?.0 {
            EdgeType::Tensor { dims, .. } => dims.first().copied(),
            _ => None,
        });
        Figures {
            device: device.clone(),
            targets,
            views: views.unwrap_or(0),
            student: input(Role::Loss, "logits"),
            features: output(Role::Teacher, "cls"),
            seen: Seen::default(),
        }
    }
}

/// The tensor at a port, if it is this node's.
fn at<D: Device>(port: Option<Port>, node: NodeId, values: &[Option<Value<D>>]) -> Option<&Batched<D>> {
    match values.get(port.filter(|(of, _)| *of == node)?.1) {
        Some(Some(Value::Tensor(tensor))) if tensor.dims.len() == 3 => Some(tensor),
        _ => None,
    }
}

impl<D: Kernels> Watch<D> for Figures<D> {
    fn saw(
        &mut self,
        node: NodeId,
        _: &Moment,
        inputs: &[Option<Value<D>>],
        outputs: &[Option<Value<D>>],
    ) -> Result<(), StageError> {
        if let Some(targets) = at(self.targets, node, outputs) {
            let (rows, k) = (targets.dims[0] * targets.dims[1], targets.dims[2]);
            self.seen.teacher = self.device.first_choices(rows, k, targets.view()).map_err(failed)?;
            self.seen.prototypes = k;
        }
        if let Some(logits) = at(self.student, node, inputs) {
            let (views, batch, k) = (self.views.min(logits.dims[0]), logits.dims[1], logits.dims[2]);
            let choices = self.device.first_choices(views * batch, k, logits.view()).map_err(failed)?;
            self.seen.student.resize(views, Vec::new());
            for (all, of_view) in self.seen.student.iter_mut().zip(choices.chunks(batch.max(1))) {
                all.extend(of_view);
            }
        }
        if let Some(features) = at(self.features, node, outputs) {
            self.seen.features.extend(features.to_host().map_err(failed)?);
            self.seen.width = features.dims[2];
        }
        Ok(())
    }

    fn report(&mut self) -> Result<Vec<(&'static str, f64)>, StageError> {
        let seen = std::mem::take(&mut self.seen);
        let mut figures = Vec::new();
        if !seen.teacher.is_empty() {
            figures.push(("used_prototypes", used(&seen.teacher, seen.prototypes) as f64));
        }
        figures.extend(agreement(&seen.teacher, &seen.student).map(|share| ("agreement", share)));
        // no width, no features
        if let Some(rows) = seen.features.len().checked_div(seen.width) {
            let width = seen.width;
            let features = Batched::from_host(&self.device, seen.features, vec![rows, width], None);
            let features = features.map_err(failed)?;
            let rank = self.device.effective_rank(rows, width, features.view()).map_err(failed)?;
            figures.push(("effective_rank", rank));
        }
        Ok(figures)
    }
}

/// How many prototypes are some row's first choice.
fn used(choices: &[u32], prototypes: usize) -> usize {
    let mut chosen = vec![false; prototypes];
    choices.iter().for_each(|choice| chosen[*choice as usize] = true);
    chosen.into_iter().filter(|chosen| *chosen).count()
}

/// Over pictures and pairs of different global views: how often the student's first choice on one is the teacher's on the other.
fn agreement(teacher: &[u32], student: &[Vec<u32>]) -> Option<f64> {
    let batch = student.first()?.len();
    let (mut same, mut pairs) = (0usize, 0usize);
    for (view, chosen) in student.iter().enumerate() {
        for (_, target) in teacher.chunks_exact(batch.max(1)).enumerate().filter(|(other, _)| *other != view)
        {
            same += chosen.iter().zip(target).filter(|(a, b)| a == b).count();
            pairs += batch;
        }
    }
    (pairs > 0).then(|| same as f64 / pairs as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_counted_and_compared_across_views() {
        assert_eq!(used(&[3, 0, 3, 3], 5), 2);
        // view 0 of the teacher chose 1, 2, 3, view 1 chose 4, 5, 6
        let teacher = [1, 2, 3, 4, 5, 6];
        let check = |student: [[u32; 3]; 2], expected: f64| {
            let student = student.map(|view| view.to_vec());
            assert_eq!(agreement(&teacher, &student), Some(expected), "{student:?}");
        };
        check([[4, 5, 6], [1, 2, 3]], 1.0);
        // the same view is no other
        check([[1, 2, 3], [4, 5, 6]], 0.0);
        check([[4, 0, 0], [0, 2, 3]], 0.5);
        assert_eq!(agreement(&teacher, &[]), None);
        assert_eq!(agreement(&[], &[vec![1]]), None);
    }
}
