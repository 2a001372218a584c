//! A ViT with DINO's head, as a [`Network`].

use std::sync::Arc;

use dfdx::prelude::{
    Const, Gradients as Slots, HasShape, Merge, NoneTape, ReshapeTo, SplitTape, Tape, Tensor,
};

use super::head::Head;
use super::network::{Answer, Asked, Backward, DropPath, Gradients, Lent, Network, Traced};
use super::parameter::{Mut, Parameters, Ref};
use super::vit::Vit;
use crate::graph::spec::{HeadSpec, VitSpec};
use crate::kernels::{Kernels, Products};
use crate::ops;
use crate::tensor::{Batched, Device, Float, GradTape};

/// Backbone and head.
#[derive(Clone, Debug)]
pub struct Model<const W: usize, const DEPTH: usize, const HEADS: usize, const P: usize, D: Device> {
    backbone: Vit<W, DEPTH, HEADS, P, D>,
    head: Head<W, D>,
    device: D,
}

/// A pass's answer with the typed outputs that gradients come back to.
struct Pass<const W: usize, D: Kernels, T> {
    answer: Answer<D>,
    cls: Tensor<(usize, Const<W>), Float, D>,
    logits: Option<Tensor<(usize, usize), Float, D>>,
    tape: T,
}

impl<const W: usize, const DEPTH: usize, const HEADS: usize, const P: usize, D: Kernels>
    Model<W, DEPTH, HEADS, P, D>
{
    /// All parameters zero.
    pub fn zeros(device: &D, vit: &VitSpec, head: &HeadSpec, products: Products) -> Result<Self, D::Err> {
        Ok(Model {
            backbone: Vit::zeros(device, vit.image, vit.stem, products)?,
            head: Head::zeros(device, head, products)?,
            device: device.clone(),
        })
    }

    /// One backbone call for each group, one head call over all rows (fixtures: batch norm in the head sees them all).
    fn pass<T: Tape<Float, D> + Merge<T>>(
        &self,
        groups: &[&Batched<D>],
        asked: Asked,
        drop_path: Option<DropPath>,
    ) -> Result<Pass<W, D, T>, D::Err> {
        let (mut rows, mut views, batch) = (None, 0, groups[0].dims[1]);
        let (mut tokens, mut attention) = (Vec::new(), Vec::new());
        for group in groups {
            let size = (group.dims[0], batch);
            let drops = Vit::<W, DEPTH, HEADS, P, D>::drops(drop_path, views, size);
            let features = self.backbone.forward(group, asked, &drops, T::default())?;
            views += size.0;
            tokens.extend(features.tokens.map(|t| flat(t, &[size.0, batch])).transpose()?);
            attention.extend(features.attention.map(|a| {
                let width = a.shape().0 / (size.0 * batch * HEADS);
                Batched { flat: a, dims: vec![size.0, batch, HEADS, width], batch: Some(1) }
            }));
            rows = Some(match rows {
                None => features.cls,
                Some(before) => ops::concat_rows(before, features.cls)?,
            });
        }
        let (cls, mut tape) = rows.expect("a pass has at least one group").split_tape(); // `groups[0]` stood above
        let (mut logits, mut statistics) = (None, Vec::new());
        if asked.logits {
            use dfdx::prelude::PutTape;
            let (out, seen) = self.head.forward(cls.clone().put_tape(tape))?;
            let (out, rest) = out.split_tape();
            statistics.extend(self.head.norm_keys().into_iter().zip(seen));
            (logits, tape) = (Some(out), rest);
        }
        let answer = Answer {
            logits: logits.clone().map(|l| flat(l, &[views, batch])).transpose()?,
            cls: flat(cls.clone(), &[views, batch])?,
            tokens,
            attention,
            statistics,
        };
        Ok(Pass { answer, cls, logits, tape })
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
            device.axpy(D::buffer_mut(slots.get_or_alloc_mut(out)?), 1.0, gradient.view())?;
        }
        if let Some(gradient) = cls {
            device.axpy(D::buffer_mut(slots.get_or_alloc_mut(&self.cls)?), 1.0, gradient.view())?;
        }
        self.tape.run(&mut slots)?;
        for (parameter, sum) in parameters.iter().zip(&mut sums.buffers) {
            std::mem::swap(parameter.tensor.gradient(&mut slots)?, sum);
        }
        Ok(())
    }
}

impl<const W: usize, const DEPTH: usize, const HEADS: usize, const P: usize, D: Kernels> Network<D>
    for Model<W, DEPTH, HEADS, P, D>
{
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
        Ok(self.pass::<NoneTape>(groups, asked, None)?.answer)
    }

    fn forward_traced(
        &self,
        groups: &[&Batched<D>],
        asked: Asked,
        drop_path: Option<DropPath>,
    ) -> Result<Traced<D>, D::Err> {
        let Pass { answer, cls, logits, tape } = self.pass::<GradTape<D>>(groups, asked, drop_path)?;
        Ok((answer, Box::new(Way { tape, cls, logits })))
    }

    fn fresh_copy(&self) -> Result<Lent<D>, D::Err> {
        let mut copy = self.clone();
        copy.parameters_mut().iter_mut().try_for_each(|p| p.tensor.refresh())?;
        Ok(Arc::new(copy))
    }

    fn zero_gradients(&self) -> Result<Gradients<D>, D::Err> {
        let zeros = |p: &Ref<'_, D>| self.device.zeroed(p.tensor.len());
        Ok(Gradients { buffers: self.parameters().iter().map(zeros).collect::<Result<_, _>>()? })
    }
}
