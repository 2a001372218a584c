//! A network and its linear layer in training: forward, backward, AdamW.

use std::sync::Arc;

use dfdx::prelude::Cpu;

use super::layers::{decays, share};
use super::{Line, Recipe};
use crate::data::source::Images;
use crate::error::Error;
use crate::eval::classifier::{Accuracy, Classifier, Target, cross_entropy};
use crate::eval::extractor::Placed;
use crate::eval::features::{Unreadable, Wanted};
use crate::eval::subject::Subject;
use crate::kernels::Products;
use crate::kernels::cpu::{linear, optimizer};
use crate::keyed::Key;
use crate::nn::network::{Asked, DropPath, Gradients};
use crate::tensor::{Batched, Device};

/// AdamW's, as in DeiT.
const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;
/// Deviation of the linear layer's first weights, as of a network's (DeiT).
const DEVIATION: f64 = 0.02;

/// AdamW's moments of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

impl Moments {
    fn zeros(len: usize) -> Self {
        Moments { first: vec![0.0; len], second: vec![0.0; len] }
    }
}

/// The loss's slopes along all that is trained.
struct Slopes {
    backbone: Gradients<Cpu>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// What validation pictures came to.
#[derive(Clone, Debug)]
pub struct Judged {
    pub accuracy: Accuracy,
    /// Those that could be read.
    pub pictures: usize,
    /// Those that could not, which count neither for nor against.
    pub unreadable: Vec<Unreadable>,
}

/// Everything that training changes.
pub struct Trainer {
    pub recipe: Recipe,
    pub subject: Subject<Placed<Cpu>>,
    pub classifier: Classifier,
    /// Of the backbone's parameters in their order, then of the linear layer's weights and biases.
    pub moments: Vec<Moments>,
    /// Updates that are done.
    pub step: u64,
    /// Epochs that are done, a line each.
    pub history: Vec<Line>,
    /// Blocks of the network.
    depth: usize,
}

impl Trainer {
    /// A network with a fresh linear layer.
    ///
    /// # Errors
    /// [`Error::Request`] when it is no vision transformer.
    pub fn new(recipe: Recipe, subject: Subject<Placed<Cpu>>, classes: usize) -> Result<Self, Error> {
        let Some((_, shape)) = subject.spec.backbone.vit() else {
            let label = subject.spec.backbone.label();
            return Err(Error::Request(format!(
                "{label}: expected a vision transformer, which the recipe is for"
            )));
        };
        let (depth, dim) = (shape.depth, subject.width());
        let mut draws = Key::new(recipe.seed).named("finetune head").draws();
        let weights = (0..classes * dim).map(|_| (DEVIATION * draws.normal()) as f32).collect();
        let classifier = Classifier { weights, ..Classifier::zeros(dim, classes) };
        let parameters = subject.placed.network.parameters();
        let trained = parameters.iter().filter(|p| p.name.starts_with("backbone."));
        let mut moments: Vec<Moments> = trained.map(|p| Moments::zeros(p.tensor.len())).collect();
        moments.extend([Moments::zeros(classes * dim), Moments::zeros(classes)]);
        drop(parameters);
        Ok(Trainer { recipe, subject, classifier, moments, step: 0, history: Vec::new(), depth })
    }

    /// One update by pictures (n, 3, side, side), so many in the network at once. Returns their mean loss before, in nats.
    ///
    /// # Errors
    /// When the device fails, or the loss is no number: the weights are then as they were.
    pub fn update(
        &mut self,
        pixels: &[f32],
        targets: &[Target],
        lr: f64,
        at_once: usize,
    ) -> Result<f64, Error> {
        let (side, each) = (self.subject.view.crop, at_once.max(1));
        let Classifier { dim, classes, .. } = self.classifier;
        let mut slopes = Slopes {
            backbone: self.subject.placed.network.zero_gradients().map_err(device)?,
            weights: vec![0.0; classes * dim],
            bias: vec![0.0; classes],
        };
        let (mut loss, mut first_image) = (0.0, 0);
        let key = Key::new(self.recipe.seed).named("finetune").with(self.step);
        for (pixels, wanted) in pixels.chunks(each * 3 * side * side).zip(targets.chunks(each)) {
            let drop_path = DropPath { rate: self.recipe.drop_path, key, first_image };
            loss += self.part(pixels, wanted, 1.0 / targets.len() as f32, drop_path, &mut slopes)?;
            first_image += wanted.len();
        }
        if !loss.is_finite() {
            let text = format!("the loss of update {} is {loss}", self.step);
            return Err(Error::Failed(format!("{text}: lower the learning rate")));
        }
        self.apply(&slopes, lr)?;
        Ok(loss / targets.len() as f64)
    }

    /// Adds the slopes of some of an update's pictures, each worth `scale`; returns the sum of their losses.
    fn part(
        &self,
        pixels: &[f32],
        wanted: &[Target],
        scale: f32,
        drop_path: DropPath,
        slopes: &mut Slopes,
    ) -> Result<f64, Error> {
        let (side, rows) = (self.subject.view.crop, wanted.len());
        let Classifier { dim, classes, ref weights, .. } = self.classifier;
        let dims = vec![1, rows, 3, side, side];
        let shown = Batched::from_host(&Cpu::default(), pixels.to_vec(), dims, Some(1)).map_err(device)?;
        let network = &self.subject.placed.network;
        let traced = network.forward_traced(&[&shown], Asked::default(), Some(drop_path));
        let (answer, backward) = traced.map_err(device)?;
        let cls = answer.cls.to_host().map_err(device)?;
        let mut scores = vec![0.0; rows * classes];
        self.classifier.scores(&cls, &mut scores);
        let loss = cross_entropy(classes, &mut scores, wanted, scale);
        let (slope, cls) = (scores.as_slice().into(), cls.as_slice().into());
        linear::backward_weight(Products::F32, rows, dim, classes, slope, cls, &mut slopes.weights);
        linear::backward_bias(rows, classes, slope, &mut slopes.bias);
        let mut of_cls = vec![0.0f32; rows * dim];
        let to = of_cls.as_mut_slice().into();
        linear::backward_input(Products::F32, rows, dim, classes, slope, weights, to);
        let of_cls = Batched::from_host(&Cpu::default(), of_cls, answer.cls.dims.clone(), Some(1));
        let of_cls = of_cls.map_err(device)?;
        backward.run(&***network, None, Some(&of_cls), &mut slopes.backbone).map_err(device)?;
        Ok(loss)
    }

    /// AdamW over all parameters; of the network's head, which fine-tuning has none of, nothing changes.
    fn apply(&mut self, slopes: &Slopes, lr: f64) -> Result<(), Error> {
        self.step += 1;
        let (step, recipe, depth) = (self.step, &self.recipe, self.depth);
        let adamw = |p: &mut [f32], g: &[f32], moments: &mut Moments, lr: f64, decay: f64| {
            let (m, v) = (&mut moments.first, &mut moments.second);
            optimizer::adamw(p, g, m, v, lr, decay, BETAS.0, BETAS.1, EPSILON, step, 1.0, None, 0.0);
        };
        let network = Arc::get_mut(&mut self.subject.placed.network)
            .ok_or_else(|| Error::Failed("the network's weights are still lent".into()))?;
        let mut moments = self.moments.iter_mut();
        let trained = network.parameters_mut().into_iter().zip(&slopes.backbone.buffers);
        let trained = trained.filter(|(parameter, _)| parameter.name.starts_with("backbone."));
        for ((parameter, gradient), moments) in trained.zip(&mut moments) {
            let decay = if decays(&parameter.name, &parameter.dims) { recipe.weight_decay } else { 0.0 };
            let lr = lr * share(&parameter.name, depth, recipe.layer_decay);
            adamw(parameter.tensor.view_mut(), Cpu::buffer(gradient), moments, lr, decay);
        }
        let Classifier { weights, bias, .. } = &mut self.classifier;
        let last = [(weights, &slopes.weights, recipe.weight_decay), (bias, &slopes.bias, 0.0)];
        for ((p, g, decay), moments) in last.into_iter().zip(moments) {
            adamw(p, g, moments, lr, decay);
        }
        Ok(())
    }

    /// How often a source's labelled pictures `which` are told rightly, in the evaluation's view.
    ///
    /// # Errors
    /// When the device fails.
    pub fn judge(&self, images: &dyn Images, which: &[usize], at_once: usize) -> Result<Judged, Error> {
        let (rows, unreadable) = self.subject.rows(images, which, (Wanted::CLS, at_once), |_| ())?;
        let accuracy = self.classifier.accuracy(&rows.features, &rows.labels);
        Ok(Judged { accuracy, pictures: rows.len(), unreadable })
    }
}

/// A failure of the device.
fn device(error: impl std::fmt::Debug) -> Error {
    Error::Failed(format!("{error:?}"))
}

#[cfg(test)]
mod tests;
