//! A backbone with DINO's head, as a [`Network`].

use std::sync::Arc;

use dfdx::prelude::{
    Const, Gradients as Slots, HasShape, Merge, NoneTape, PutTape, ReshapeTo, SplitTape, Tape, Tensor,
};

use super::backbone::{Backbone, Pass};
use super::batch_norm::Norms;
use super::head::Head;
use super::network::{Answer, Asked, Backward, DropPath, Gradients, Lent, Network, Traced};
use super::parameter::{Mut, Parameters, Ref};
use super::statistics::Averages;
use crate::kernels::Kernels;
use crate::ops;
use crate::tensor::{Batched, Crossing, Device, Float, GradTape};

/// Backbone and head.
#[derive(Clone, Debug)]
pub struct Model<const W: usize, B, D: Device> {
    pub backbone: B,
    pub head: Head<W, D>,
    pub device: D,
}

/// A pass's answer with the typed outputs that gradients come back to.
struct Done<const W: usize, D: Kernels, T> {
    answer: Answer<D>,
    cls: Tensor<(usize, Const<W>), Float, D>,
    logits: Option<Tensor<(usize, usize), Float, D>>,
    tape: T,
}

impl<const W: usize, B: Backbone<W, D>, D: Kernels> Model<W, B, D> {
    /// One backbone call for each group (fixtures: a ResNet's batch norms see one batch a resolution), one head call over all
    /// rows (fixtures: batch norm in the head sees them all).
    fn pass<T: Tape<Float, D> + Merge<T>>(
        &self,
        groups: &[&Batched<D>],
        mut pass: Pass<'_, D>,
    ) -> Result<Done<W, D, T>, D::Err> {
        let (mut rows, batch) = (None, groups[0].dims[1]);
        let (mut tokens, mut attention, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
        for group in groups {
            let features = self.backbone.forward(group, &mut pass, T::default())?;
            let views = group.dims[0];
            pass.first_view += views;
            tokens.extend(features.tokens.map(|t| flat(t, &[views, batch])).transpose()?);
            attention.extend(features.attention);
            let of_block = |cls| flat(cls, &[views, batch]);
            blocks.push(features.blocks.into_iter().map(of_block).collect::<Result<_, _>>()?);
            rows = Some(match rows {
                None => features.cls,
                Some(before) => ops::concat_rows(before, features.cls)?,
            });
        }
        let (cls, mut tape) = rows.expect("a pass has at least one group").split_tape(); // `groups[0]` stood above
        let mut logits = None;
        if pass.asked.logits {
            let out = self.head.forward(cls.clone().put_tape(tape), &mut pass.norms)?;
            let (out, rest) = out.split_tape();
            (logits, tape) = (Some(out), rest);
        }
        let views = pass.first_view;
        let answer = Answer {
            logits: logits.clone().map(|l| flat(l, &[views, batch])).transpose()?,
            cls: flat(cls.clone(), &[views, batch])?,
            tokens,
            attention,
            blocks,
            statistics: pass.norms.seen(&self.device)?,
        };
        Ok(Done { answer, cls, logits, tape })
    }
}

/// A typed tensor whose first axis is `lead` joined, as a value for the wires. The numbers are shared, not copied.
fn flat<S: dfdx::prelude::Shape, D: Kernels>(
    tensor: Tensor<S, Float, D>,
    lead: &[usize],
) -> Result<Batched<D>, D::Err> {
    let mut dims = lead.to_vec();
    dims.extend(tensor.shape().concrete().into_iter().skip(1));
    let len = tensor.shape().num_elements();
    Ok(Batched { flat: tensor.try_reshape_like(&(len,))?, dims, batch: Some(1) })
}

/// The tape of a pass with the outputs that gradients come back to.
struct Way<const W: usize, D: Kernels> {
    tape: GradTape<D>,
    cls: Tensor<(usize, Const<W>), Float, D>,
    logits: Option<Tensor<(usize, usize), Float, D>>,
}

impl<const W: usize, D: Kernels> Backward<D> for Way<W, D> {
    fn run(
        self: Box<Self>,
        network: &dyn Network<D>,
        logits: Option<&Batched<D>>,
        cls: Option<&Batched<D>>,
        sums: &mut Gradients<D>,
    ) -> Result<(), D::Err> {
        let device = self.cls.device().clone();
        let mut slots = Slots::leaky();
        let parameters = network.parameters();
        // the sums so far stand in the parameters' slots, so that every backward step adds to them
        for (parameter, sum) in parameters.iter().zip(&mut sums.buffers) {
            std::mem::swap(parameter.tensor.gradient(&mut slots)?, sum);
        }
        if let (Some(out), Some(gradient)) = (&self.logits, logits) {
            device.axpy(D::buffer_mut(slots.get_or_alloc_mut(out)?), sums.scale, gradient.view())?;
        }
        if let Some(gradient) = cls {
            device.axpy(D::buffer_mut(slots.get_or_alloc_mut(&self.cls)?), sums.scale, gradient.view())?;
        }
        self.tape.run(&mut slots)?;
        for (parameter, sum) in parameters.iter().zip(&mut sums.buffers) {
            std::mem::swap(parameter.tensor.gradient(&mut slots)?, sum);
        }
        Ok(())
    }
}

impl<const W: usize, B: Backbone<W, D>, D: Kernels> Network<D> for Model<W, B, D> {
    fn parameters(&self) -> Vec<Ref<'_, D>> {
        let mut list = Vec::new();
        self.backbone.list("backbone.", &mut list);
        self.head.list("head.", &mut list);
        list
    }

    fn parameters_mut(&mut self) -> Vec<Mut<'_, D>> {
        let mut list = Vec::new();
        self.backbone.list_mut("backbone.", &mut list);
        self.head.list_mut("head.", &mut list);
        list
    }

    fn width(&self) -> usize {
        W
    }

    fn forward(&self, groups: &[&Batched<D>], asked: Asked) -> Result<Answer<D>, D::Err> {
        let norms = Norms::Batch(Vec::new());
        Ok(self.pass::<NoneTape>(groups, Pass { asked, drop_path: None, first_view: 0, norms })?.answer)
    }

    fn evaluate(
        &self,
        groups: &[&Batched<D>],
        asked: Asked,
        averages: &Averages,
    ) -> Result<Answer<D>, D::Err> {
        let norms = Norms::Running(averages);
        Ok(self.pass::<NoneTape>(groups, Pass { asked, drop_path: None, first_view: 0, norms })?.answer)
    }

    fn forward_traced(
        &self,
        groups: &[&Batched<D>],
        asked: Asked,
        drop_path: Option<DropPath>,
    ) -> Result<Traced<D>, D::Err> {
        let pass = Pass { asked, drop_path, first_view: 0, norms: Norms::Batch(Vec::new()) };
        let Done { answer, cls, logits, tape } = self.pass::<GradTape<D>>(groups, pass)?;
        Ok((answer, Box::new(Way { tape, cls, logits })))
    }

    fn fresh_copy(&self) -> Result<Lent<D>, D::Err> {
        let mut copy = self.clone();
        copy.parameters_mut().iter_mut().try_for_each(|p| p.tensor.refresh())?;
        Ok(Arc::new(Crossing::new(copy)))
    }

    fn zero_gradients(&self) -> Result<Gradients<D>, D::Err> {
        let zeros = |p: &Ref<'_, D>| self.device.zeroed(p.tensor.len());
        Ok(Gradients::new(self.parameters().iter().map(zeros).collect::<Result<_, _>>()?))
    }
}
