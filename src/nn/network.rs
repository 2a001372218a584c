//! A network as stages see it: any architecture, erased behind one trait.

use std::sync::Arc;

use crate::tensor::{Batched, Device, Float};

/// A network's weights, lent for a step: nobody keeps a handle past it, so their owner can update them in place.
pub type Lent<D> = Arc<dyn Network<D>>;

/// One parameter of a network under its published name.
pub struct Parameter<'a, D: Device> {
    /// The published key: `backbone.blocks.0.attn.qkv.weight`.
    pub name: &'a str,
    /// The published shape.
    pub dims: &'a [usize],
    pub values: D::View<'a>,
    /// Never trained: the last layer's magnitudes under `norm_last_layer`.
    pub fixed: bool,
}

/// [`Parameter`] for whoever owns the weights.
pub struct ParameterMut<'a, D: Device> {
    pub name: &'a str,
    pub dims: &'a [usize],
    pub values: D::ViewMut<'a>,
    pub fixed: bool,
}

/// Gradients in the order in which the network visits its parameters; an entry per parameter, of its length.
pub struct Gradients<D: Device> {
    pub buffers: Vec<<D as dfdx::prelude::Storage<Float>>::Vec>,
}

/// What is asked of a forward pass, so that nothing else is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The head's output.
    pub logits: bool,
    /// The patch tokens after the last norm; without them the last block is done for the CLS row alone.
    pub patches: bool,
    /// The last block's attention of the CLS token.
    pub attention: bool,
}

/// What a forward pass gives. Views of a crop count first: (views, batch, …).
pub struct Answer<D: Device> {
    /// (views, batch, K), when asked.
    pub logits: Option<Batched<D>>,
    /// (views, batch, dim) after the last norm.
    pub cls: Batched<D>,
    /// Per group of equal resolution: (views, batch, patches, dim), when asked.
    pub patches: Vec<Batched<D>>,
    /// Per group: (views, batch, heads, 1 + patches), when asked.
    pub attention: Vec<Batched<D>>,
}

/// Stochastic depth for one pass: the draws are keyed, so a pass can be repeated exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropPath {
    /// The drop probability of the last block; block i of n has `rate · i / (n - 1)`.
    pub rate: f64,
    /// Keyed by run and step.
    pub key: crate::keyed::Key,
    /// The place in the whole batch of the first image, so that micro-batches draw what the whole batch would.
    pub first_image: usize,
}

/// The backward half of a traced pass: from the gradients of its outputs to those of the parameters.
pub trait Backward<D: Device> {
    /// Adds to `sums`, which has one buffer per parameter. Gradients of outputs that nothing flowed back to are `None`.
    fn run(
        self: Box<Self>,
        network: &dyn Network<D>,
        logits: Option<&Batched<D>>,
        cls: Option<&Batched<D>>,
        sums: &mut Gradients<D>,
    ) -> Result<(), D::Err>;
}

/// A backbone with its head on a device.
pub trait Network<D: Device>: Send + Sync {
    /// Visits every parameter, always in the same order.
    fn visit(&self, see: &mut dyn FnMut(Parameter<'_, D>));

    /// Visits every parameter for writing, in the order of [`Network::visit`].
    fn visit_mut(&mut self, see: &mut dyn FnMut(ParameterMut<'_, D>));

    /// Visits batch-norm statistics by published key, `head.mlp.1.running_mean` and `…running_var`.
    fn visit_statistics(&mut self, see: &mut dyn FnMut(&str, &mut Vec<Float>));

    /// The untraced pass over groups of crops, each (views, batch, 3, height, width), `training` deciding batch norm.
    fn forward(&self, groups: &[&Batched<D>], asked: Asked, training: bool) -> Result<Answer<D>, D::Err>;

    /// The traced pass of training, with the statistics of its batch norms for the commit.
    #[allow(clippy::type_complexity)]
    fn forward_traced(
        &self,
        groups: &[&Batched<D>],
        asked: Asked,
        drop_path: Option<DropPath>,
    ) -> Result<(Answer<D>, Box<dyn Backward<D>>), D::Err>;

    /// The same weights under fresh tensor ids: a teacher's beginning.
    fn fresh_copy(&self) -> Box<dyn Network<D>>;

    /// Zeroed gradient buffers in the order of [`Network::visit`].
    fn zero_gradients(&self) -> Result<Gradients<D>, D::Err>;
}
