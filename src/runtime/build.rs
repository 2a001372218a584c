//! From a stage's parameters to the stage that runs, on the thread that will own it.

use std::sync::Arc;

use super::stage::{Stage, StageError};
use super::watch::{Several, Watch};
use crate::data::augment::CutOn;
use crate::doctor::Figures;
use crate::graph::spec::GraphSpec;
use crate::nn::predictor::Predictor;
use crate::nn::statistics::Averages;
use crate::nn::weights::{self, failed};
use crate::plan::{NodeId, Plan};
use crate::report::pictures::crops::Crops;
use crate::stages::optimizer::Trained;
use crate::stages::optimizer::recipe::Optimizer;
use crate::stages::optimizer::rule::Rule;
use crate::stages::registry::{Registered, Registry};
use crate::stages::source::Pictures;
use crate::stages::{
    EdgeType, Role, StageSpec, attention, center, collate, decode, ema, knn, loss, multi_crop, optimizer,
    predictor, source, student, teacher,
};
use crate::tensor::{Crossing, Device};

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
    pub device: &'a Crossing<D>,
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

impl<D: Registered> Workshop<'_, D> {
    fn loss(&self, measure: impl loss::Measure<D> + 'static, koleo: f64) -> Box<dyn Stage<D>> {
        // a student of another crate may not say how many views the teacher sees: the paper's two
        let globals = self.plan.global_views().unwrap_or(2);
        let batch = self.plan.graph.global_batch;
        Box::new(loss::Running::new(measure, koleo, globals, batch, &**self.device))
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
        let pictures = || {
            let opened = self.pictures.cloned();
            opened.ok_or_else(|| StageError::Bug("a host stage is built before the source is opened".into()))
        };
        Ok(match &self.plan.nodes[node.0].stage {
            StageSpec::Folder(_) | StageSpec::List(_) | StageSpec::Shards(_) | StageSpec::Synthetic(_) => {
                Box::new(source::Running::new(pictures()?))
            }
            StageSpec::Decode(stage) => Box::new(decode::Running::new(stage, pictures()?)),
            StageSpec::MultiCrop(stage) => {
                let on_device = self.crops_on_device(node, stage).then_some(self.plan.batch.micro);
                Box::new(multi_crop::Running::new(stage, graph.seed, on_device))
            }
            StageSpec::Collate(stage) => Box::new(collate::Running::new(stage, device)),
            StageSpec::Student(_) => {
                Box::new(student::Running::new(graph, begun(&self.statistics.student)?, device))
            }
            StageSpec::Predictor(_) => Box::new(predictor::Running::default()),
            StageSpec::Teacher(_) => Box::new(teacher::Running::new(begun(&self.statistics.teacher)?)),
            StageSpec::Centering(stage) => Box::new(center::Running::new(stage.recipe(), device)),
            StageSpec::SinkhornKnopp(stage) => Box::new(center::Running::new(stage.recipe(), device)),
            StageSpec::BatchSoftmax(stage) => Box::new(center::Running::new(stage.recipe(), device)),
            StageSpec::Uncentered(stage) => Box::new(center::Running::new(stage.recipe(), device)),
            StageSpec::CrossEntropy(stage) => self.loss(loss::Against::new(stage, device), stage.koleo),
            StageSpec::MeanSquaredError(stage) => self.loss(loss::Between::new(device), stage.koleo),
            StageSpec::InfoNce(stage) => {
                self.loss(loss::Contrast::new(stage, graph.seed, device), stage.koleo)
            }
            StageSpec::SwappedPrediction(stage) => self.loss(loss::Swapped::new(stage, device), stage.koleo),
            StageSpec::AdamW(stage) => self.optimizer(stage)?,
            StageSpec::Sgd(stage) => self.optimizer(stage)?,
            StageSpec::Lars(stage) => self.optimizer(stage)?,
            StageSpec::Momentum(stage) => {
                Box::new(ema::running::Momentum::new(stage, &first()?, device).map_err(failed)?)
            }
            StageSpec::StudentCopy(_) => {
                Box::new(ema::running::StudentCopy::new(&first()?, device).map_err(failed)?)
            }
            StageSpec::PreviousIteration(_) => {
                Box::new(ema::running::PreviousIteration::new(&first()?, device).map_err(failed)?)
            }
            StageSpec::PreviousEpoch(_) => {
                Box::new(ema::running::PreviousEpoch::new(&first()?, device).map_err(failed)?)
            }
            StageSpec::Knn(stage) => {
                let rejections = self.pictures.map(|pictures| pictures.rejections.clone());
                let averages = [0, 1].map(|input| self.statistics.at(self.plan, node, input));
                Box::new(knn::Running::new(stage, graph, rejections.unwrap_or_default(), averages, device)?)
            }
            StageSpec::Maps(stage) => {
                let averages = [0, 1].map(|input| self.statistics.at(self.plan, node, input));
                let training = self.pictures.map(|pictures| pictures.images.clone());
                Box::new(attention::Running::new(stage, graph, training, averages, device)?)
            }
            StageSpec::Checkpoint(_) => {
                return Err(StageError::Bug("a checkpoint is no stage: the run writes it".into()));
            }
            StageSpec::Custom(custom) => self.registry.build(custom, graph, device)?,
        })
    }

    fn watch(&self) -> Option<Box<dyn Watch<D>>> {
        let figures = Box::new(Figures::new(self.plan, &**self.device));
        Some(Box::new(Several(vec![figures, Box::new(Crops::new(self.plan))])))
    }
}

impl<D: Registered> Workshop<'_, D> {
    /// The optimizer of these parameters, with the first weights of what it trains.
    fn optimizer<S: Optimizer + Rule<D> + Clone + 'static>(
        &self,
        stage: &S,
    ) -> Result<Box<dyn Stage<D>>, StageError> {
        let graph = &self.plan.graph;
        let weights = stage.trained().iter().map(|name| self.trained(name)).collect::<Result<_, _>>()?;
        let (rule, recipe) = (Box::new(stage.clone()), stage.recipe());
        let running = optimizer::Running::new(rule, recipe, graph.global_batch, weights, &**self.device);
        Ok(Box::new(running.map_err(failed)?))
    }

    /// Whether the device itself makes a node's crops: where it can and may, and only `collate` takes them.
    fn crops_on_device(&self, node: NodeId, stage: &multi_crop::MultiCrop) -> bool {
        let mut takers = self.plan.edges.iter().filter(|edge| edge.from.node == node);
        let to_collate =
            takers.all(|edge| matches!(self.plan.nodes[edge.to.node.0].stage, StageSpec::Collate(_)));
        let asked = stage.cut_on == CutOn::Auto;
        asked
            && to_collate
            && self.device.cropper().is_some_and(|cropper| stage.largest() <= cropper.largest())
    }

    /// The first weights of a node that an optimizer trains.
    fn trained(&self, name: &str) -> Result<Trained<D>, StageError> {
        let (device, graph, products): (&D, _, _) = (self.device, &self.plan.graph, self.plan.products());
        let node = self.plan.nodes.iter().find(|node| node.name == name);
        match node.map(|node| (&node.stage, &node.produces[..])) {
            Some((StageSpec::Predictor(stage), [(EdgeType::Tensor { dims, .. }, _), ..])) => {
                let shape = stage.shape(dims.last().copied().unwrap_or_default());
                let predictor = Predictor::new(device, shape, products, graph.seed).map_err(failed)?;
                Ok(Trained::Predictor(Arc::new(Crossing::new(predictor))))
            }
            _ => weights::first(device, &graph.network, products, graph.seed).map(Trained::Network),
        }
    }
}
