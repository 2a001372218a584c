//! The parameters that every optimizer has, and what follows from them before anything runs.

use serde::{Deserialize, Serialize};

use crate::optim::schedule::{LrCourse, Schedule, Span};
use crate::plan::cost;
use crate::stages::StageSpec;
use crate::stages::declare::*;
use crate::stages::predictor::Predictor;
use crate::stages::range::{Ranges, longer, word};
use crate::stages::types::Types;

/// The rule that ties the learning rate to the batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum LrScaling {
    /// lr as it stands.
    None,
    /// lr × global_batch / `per` (Goyal et al. 2017; the paper's is per 256).
    Linear { per: usize },
}

impl LrScaling {
    /// The peak learning rate at this batch.
    pub fn peak(self, lr: f64, global_batch: usize) -> f64 {
        match self {
            LrScaling::None => lr,
            LrScaling::Linear { per } => lr * global_batch as f64 / per as f64,
        }
    }
}

/// What bounds a gradient before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Clip {
    /// Nothing.
    None,
    /// Each parameter by its own norm: factor max / (norm + 1e-6) when below 1.
    PerParameter(f64),
    /// All parameters by one factor, from the norm over all of them: max / (norm + 1e-6) when below 1.
    Global(f64),
}

impl Clip {
    /// What a gradient of norm `own` is multiplied by, where the norm over all gradients is `all`.
    pub fn factor(self, own: f64, all: f64) -> f64 {
        let bound = |most: f64, norm: f64| (most / (norm + 1e-6)).min(1.0);
        match self {
            Clip::None => 1.0,
            Clip::PerParameter(most) => bound(most, own),
            Clip::Global(most) => bound(most, all),
        }
    }
}

/// What every optimizer is told of the course of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// The learning rate before scaling.
    pub lr: f64,
    /// How the learning rate follows the batch.
    pub lr_scaling: LrScaling,
    /// Its course over training.
    pub lr_course: LrCourse,
    /// Weight decay; none for biases and one-axis tensors.
    pub weight_decay: Schedule,
    /// Gradient clipping.
    pub clip: Clip,
    /// How long the head's last layer stays as it is.
    pub freeze_last_layer: Span,
}

/// An optimizer's parameters: those that all have, and what its rule adds.
pub trait Optimizer {
    /// The nodes whose networks are trained.
    fn trained(&self) -> &[String];
    /// What it shares with the others.
    fn recipe(&self) -> Recipe;
    /// What is wrong with the parameters of its own.
    fn judge(&self, ranges: &mut Ranges);
    /// Numbers that it keeps for each weight, the weight left out.
    fn kept(&self) -> f64;
    /// Operations for each weight.
    fn flops(&self) -> f64;
}

impl<O: Optimizer> Declare for O {
    fn role(&self) -> Role {
        Role::Optimizer
    }

    fn rate(&self) -> Rate {
        Rate::Step
    }

    fn ports(&self) -> Ports {
        let about = "the gradients of what `trains` names; wired by the plan, not in the file";
        Ports {
            inputs: self.trained().iter().map(|_| Port::new("gradients", about).mirrored()).collect(),
            outputs: vec![
                Port::new("weights", "the student's weights after the update"),
                Port::new("predictor", "a trained predictor's weights after the update").optional(),
            ],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.extend(judge_trained(self.trained(), scope));
        self.recipe().judge(&mut ranges, scope);
        self.judge(&mut ranges);
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("gradients", &EdgeType::Gradients);
        types.finish(vec![EdgeType::Weights, EdgeType::PredictorWeights])
    }

    fn cost(&self, scope: &Scope, _given: &Given) -> Cost {
        let network = &scope.graph.network;
        let predictors = self.trained().iter().filter_map(|name| predictor(name, scope));
        let predictors = predictors.map(|p| p.shape(network.head.outputs()).parameters()).sum::<u64>();
        let parameters = cost::parameters(network) + predictors;
        let resident = (1.0 + self.kept()) * cost::FLOAT * parameters as f64;
        Cost { parameters, flops: self.flops() * parameters as f64, bytes: resident, resident }
    }

    fn facts(&self, scope: &Scope) -> Vec<(String, String)> {
        let Recipe { lr, lr_scaling, .. } = self.recipe();
        let peak = lr_scaling.peak(lr, scope.global_batch);
        let value = match lr_scaling {
            LrScaling::None => format!("{peak}"),
            LrScaling::Linear { per } => format!("{peak} = {lr} × {} / {per}", scope.global_batch),
        };
        vec![("learning rate at its peak".into(), value)]
    }

    fn trains(&self) -> &[String] {
        self.trained()
    }
}

/// The predictor of this name.
fn predictor<'s>(name: &str, scope: &Scope<'s>) -> Option<&'s Predictor> {
    match &scope.graph.nodes.get(name)?.stage {
        StageSpec::Predictor(predictor) => Some(predictor),
        _ => None,
    }
}

/// One student is trained, for there is one output for its weights, and likewise one predictor.
fn judge_trained(trained: &[String], scope: &Scope) -> Option<Problem> {
    let predictors = trained.iter().filter(|name| predictor(name, scope).is_some()).count();
    let problem = |expected, found: String| Some(Problem::parameter("trains", expected, found));
    match (trained.len() - predictors, predictors) {
        (0, 0) => problem("at least one node", "none".into()),
        (1, 0 | 1) => None,
        _ => problem("one student, and at most one predictor", trained.join(", ")),
    }
}

impl Recipe {
    fn judge(&self, ranges: &mut Ranges, scope: &Scope) {
        let number = |x: f64| (0.0..1e6).contains(&x);
        ranges.number("lr", self.lr, number, "a finite number, 0 or more");
        if let LrScaling::Linear { per } = self.lr_scaling {
            ranges.count("lr_scaling.per", per, 1, usize::MAX);
        }
        ranges.course("lr_course", &self.lr_course);
        let decay = |w: f64| (0.0..1e6).contains(&w);
        ranges.schedule("weight_decay", &self.weight_decay, decay, "a finite number, 0 or more");
        if let Clip::PerParameter(most) | Clip::Global(most) = self.clip {
            ranges.number("clip.0", most, |most| most > 0.0 && most < 1e9, "a finite number above 0");
        }
        let frozen = self.freeze_last_layer;
        if ranges.span("freeze_last_layer", frozen) && longer(frozen, scope) == Some(true) {
            let expected = "less than the whole run";
            let help = "the head's last layer never trains";
            let problem = Problem::parameter("freeze_last_layer", expected, word(frozen)).help(help).note();
            ranges.push(problem.by(Fault::Graph("duration".into())));
        }
    }
}
