//! `optimizer`: AdamW (Loshchilov and Hutter 2019) over the student's parameters, which it owns.
use super::declare::{Cost, Declare, EdgeType, Given, Port, Ports, Problem, Rate, Role, Scope};
use super::range::{Ranges, longer};
use super::types::Types;
use crate::optim::schedule::{LrCourse, Schedule, Span};
use crate::plan::cost;
use serde::{Deserialize, Serialize};

/// Clips, then updates the weights of the networks it trains. Output `weights`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// The nodes whose networks are trained.
    pub trains: Vec<String>,
    /// The learning rate before scaling.
    pub lr: f64,
    /// How the learning rate follows the batch.
    pub lr_scaling: LrScaling,
    /// Its course over training.
    pub lr_course: LrCourse,
    /// Weight decay; none for biases and one-axis tensors.
    pub weight_decay: Schedule,
    /// Decay rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Gradient clipping.
    pub clip: Clip,
    /// How long the head's last layer stays as it is.
    pub freeze_last_layer: Span,
}

/// The rule that ties the learning rate to the batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum LrScaling {
    /// lr as it stands.
    None,
    /// lr × global_batch / `per` (Goyal et al. 2017; the paper's is per 256).
    Linear { per: usize },
}

/// What bounds a gradient before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Clip {
    /// Nothing.
    None,
    /// Each parameter by its own norm: factor max / (norm + 1e-6) when below 1.
    PerParameter(f64),
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW {
            trains: vec!["student".into()],
            lr: 0.0005,
            lr_scaling: LrScaling::Linear { per: 256 },
            lr_course: LrCourse::Cosine { warmup: Span::Epochs(10.0), end: 1e-6 },
            weight_decay: Schedule::Cosine { from: 0.04, to: 0.4 },
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            clip: Clip::PerParameter(3.0),
            freeze_last_layer: Span::Epochs(1.0),
        }
    }
}

impl AdamW {
    /// The learning rate's peak after scaling, for this batch.
    pub fn peak(&self, global_batch: usize) -> f64 {
        match self.lr_scaling {
            LrScaling::None => self.lr,
            LrScaling::Linear { per } => self.lr * global_batch as f64 / per as f64,
        }
    }
}

impl Declare for AdamW {
    fn role(&self) -> Role {
        Role::Optimizer
    }

    fn rate(&self) -> Rate {
        Rate::Step
    }

    fn ports(&self) -> Ports {
        let about = "the gradients of what `trains` names; wired by the plan, not in the file";
        Ports {
            inputs: self.trains.iter().map(|_| Port::new("gradients", about).implicit()).collect(),
            outputs: vec![Port::new("weights", "the student's weights after the update")],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        if self.trains.is_empty() {
            ranges.push(Problem::parameter("trains", "at least one node", "none"));
        }
        ranges.number("lr", self.lr, |lr| (0.0..1e6).contains(&lr), "a finite number, 0 or more");
        if let LrScaling::Linear { per } = self.lr_scaling {
            ranges.count("lr_scaling.per", per, 1, usize::MAX);
        }
        ranges.course("lr_course", &self.lr_course);
        ranges.schedule(
            "weight_decay",
            &self.weight_decay,
            |w| (0.0..1e6).contains(&w),
            "a finite number, 0 or more",
        );
        for (name, beta) in [("betas.0", self.betas.0), ("betas.1", self.betas.1)] {
            ranges.number(name, beta, |beta| (0.0..1.0).contains(&beta), "0 to below 1");
        }
        ranges.number("epsilon", self.epsilon, |e| e > 0.0 && e < 1.0, "above 0 and below 1");
        if let Clip::PerParameter(most) = self.clip {
            ranges.number("clip.0", most, |most| most > 0.0 && most < 1e9, "a finite number above 0");
        }
        if ranges.span("freeze_last_layer", self.freeze_last_layer)
            && longer(self.freeze_last_layer, scope) == Some(true)
        {
            let expected = "less than the whole run";
            let found = super::range::word(self.freeze_last_layer);
            let help = "the head's last layer never trains";
            ranges.push(Problem::parameter("freeze_last_layer", expected, found).help(help).note());
        }
        ranges.finish()
    }

    fn infer(&self, _scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("gradients", &EdgeType::Gradients);
        types.finish(vec![EdgeType::Weights])
    }

    fn cost(&self, scope: &Scope, _given: &Given) -> Cost {
        let parameters = cost::parameters(&scope.graph.network);
        // the weights and two moments
        let resident = 3.0 * cost::FLOAT * parameters as f64;
        Cost { parameters, flops: 14.0 * parameters as f64, bytes: resident, resident }
    }

    fn facts(&self, scope: &Scope) -> Vec<(String, String)> {
        let peak = self.peak(scope.global_batch);
        let value = match self.lr_scaling {
            LrScaling::None => format!("{peak}"),
            LrScaling::Linear { per } => format!("{peak} = {} × {} / {per}", self.lr, scope.global_batch),
        };
        vec![("learning rate at its peak".into(), value)]
    }

    fn trains(&self) -> &[String] {
        &self.trains
    }
}
