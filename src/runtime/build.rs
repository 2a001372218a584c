//! From a stage's parameters to the stage that runs, on the thread that will own it.

use super::stage::{Stage, StageError};
use crate::graph::spec::GraphSpec;
use crate::nn::statistics::Averages;
use crate::nn::weights::{self, failed};
use crate::plan::{NodeId, Plan};
use crate::stages::registry::{Registered, Registry};
use crate::stages::source::Pictures;
use crate::stages::{
    Role, StageSpec, adamw, centering, collate, cross_entropy, decode, ema, knn, multi_crop, source, student,
    teacher,
};
use crate::tensor::Device;

/// Builds the stages of a run. Shared by all threads; each builds its own stages, which never leave it.
pub trait Build<D: Device>: Sync {
    /// The stage of a node; for a host node with several workers, one for each.
    fn build(&self, node: NodeId) -> Result<Box<dyn Stage<D>>, StageError>;
}

impl<D: Device, F> Build<D> for F
where
    F: Fn(NodeId) -> Result<Box<dyn Stage<D>>, StageError> + Sync,
{
    fn build(&self, node: NodeId) -> Result<Box<dyn Stage<D>>, StageError> {
        self(node)
    }
}

/// Builds the stages that graphs name.
pub struct Workshop<'a, D: Device> {
    pub plan: &'a Plan,
    pub device: &'a D,
    /// The opened source; none for a graph whose own stages bring crops.
    pub pictures: Option<&'a Pictures>,
    pub registry: &'a Registry,
    /// What batch norms saw, for the stages that write it and those that evaluate by it.
    pub statistics: NormStatistics,
}

/// What the batch norms of student and teacher saw in training.
#[derive(Default)]
pub struct NormStatistics {
    student: Averages,
    teacher: Averages,
}

impl NormStatistics {
    /// Those of the network whose weights arrive at an input: of the node that the same weights are lent to for training.
    fn at(&self, plan: &Plan, node: NodeId, input: usize) -> Averages {
        let lent = plan.nodes[node.0].wired[input].map(|edge| plan.edges[edge.0].from);
        let mut same = plan.edges.iter().filter(|edge| Some(edge.from) == lent);
        let of = |role: &Role| match role {
            Role::Student => Some(self.student.clone()),
            Role::Teacher => Some(self.teacher.clone()),
            _ => None,
        };
        same.find_map(|edge| of(&plan.nodes[edge.to.node.0].role)).unwrap_or_default()
    }
}

impl<D: Registered> Build<D> for Workshop<'_, D> {
    fn build(&self, node: NodeId) -> Result<Box<dyn Stage<D>>, StageError> {
        let (graph, device): (&GraphSpec, &D) = (&self.plan.graph, self.device);
        let first = || weights::first(device, &graph.network, self.plan.products(), graph.seed);
        let begun = |averages: &Averages| {
            weights::first_statistics(&graph.network, averages)?;
            Ok::<_, StageError>(averages.clone())
        };
        let batch = graph.global_batch;
        let pictures = || {
            let opened = self.pictures.cloned();
            opened.ok_or_else(|| StageError::Bug("a host stage is built before the source is opened".into()))
        };
        Ok(match &self.plan.nodes[node.0].stage {
            StageSpec::Folder(_) | StageSpec::List(_) | StageSpec::Shards(_) | StageSpec::Synthetic(_) => {
                Box::new(source::Running::new(pictures()?))
            }
            StageSpec::Decode(stage) => Box::new(decode::Running::new(stage, pictures()?)),
            StageSpec::MultiCrop(stage) => Box::new(multi_crop::Running::new(stage, graph.seed)),
            StageSpec::Collate(stage) => Box::new(collate::Running::new(stage, device)),
            StageSpec::Student(_) => Box::new(student::Running::new(graph, begun(&self.statistics.student)?)),
            StageSpec::Teacher(_) => Box::new(teacher::Running::new(begun(&self.statistics.teacher)?)),
            StageSpec::Centering(stage) => Box::new(centering::Running::new(stage, device)),
            StageSpec::CrossEntropy(stage) => Box::new(cross_entropy::Running::new(stage, batch, device)),
            StageSpec::AdamW(stage) => {
                Box::new(adamw::Running::new(stage, batch, first()?, device).map_err(failed)?)
            }
            StageSpec::Momentum(stage) => {
                Box::new(ema::Running::new(stage, &first()?, device).map_err(failed)?)
            }
            StageSpec::Knn(stage) => {
                let rejections = self.pictures.map(|pictures| pictures.rejections.clone());
                let averages = [0, 1].map(|input| self.statistics.at(self.plan, node, input));
                Box::new(knn::Running::new(stage, graph, rejections.unwrap_or_default(), averages, device)?)
            }
            StageSpec::Checkpoint(_) => {
                return Err(StageError::Bug("a checkpoint is no stage: the run writes it".into()));
            }
            StageSpec::Custom(custom) => self.registry.build(custom, graph, device)?,
        })
    }
}
