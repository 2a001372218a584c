//! From a stage's parameters to the stage that runs, on the thread that will own it.

use super::stage::{Stage, StageError};
use super::watch::Watch;
use crate::doctor::Figures;
use crate::graph::spec::GraphSpec;
use crate::nn::weights::{self, failed};
use crate::plan::{NodeId, Plan};
use crate::stages::registry::{Registered, Registry};
use crate::stages::source::Pictures;
use crate::stages::{
    StageSpec, adamw, centering, collate, cross_entropy, decode, ema, knn, multi_crop, source, student,
    teacher,
};
use crate::tensor::Device;

/// Builds the stages of a run. Shared by all threads; each builds its own stages, which never leave it.
pub trait Build<D: Device>: Sync {
    /// The stage of a node; for a host node with several workers, one for each.
    fn build(&self, node: NodeId) -> Result<Box<dyn Stage<D>>, StageError>;

    /// Who looks on while the stages fire, if anybody.
    fn watch(&self) -> Option<Box<dyn Watch<D>>> {
        None
    }
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
}

impl<D: Registered> Build<D> for Workshop<'_, D> {
    fn build(&self, node: NodeId) -> Result<Box<dyn Stage<D>>, StageError> {
        let (graph, device): (&GraphSpec, &D) = (&self.plan.graph, self.device);
        let first = || weights::first(device, &graph.network, self.plan.products(), graph.seed);
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
            StageSpec::Student(_) => Box::new(student::Running::new(graph)),
            StageSpec::Teacher(_) => Box::new(teacher::Running::default()),
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
                Box::new(knn::Running::new(stage, graph, rejections.unwrap_or_default(), device)?)
            }
            StageSpec::Checkpoint(_) => {
                return Err(StageError::Bug("a checkpoint is no stage: the run writes it".into()));
            }
            StageSpec::Custom(custom) => self.registry.build(custom, graph, device)?,
        })
    }

    fn watch(&self) -> Option<Box<dyn Watch<D>>> {
        Some(Box::new(Figures::new(self.plan, self.device)))
    }
}
