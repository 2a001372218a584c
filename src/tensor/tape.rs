//! dinoflow's tape: backward steps that a stage runs itself, from the gradient it is given.

use std::sync::atomic::{AtomicU64, Ordering};

use dfdx::prelude::{Gradients, Merge, NoneTape, Storage, Tape};

use super::device::{Device, Float};

type BackwardOp<D> =
    Box<dyn FnOnce(&mut Gradients<Float, D>) -> Result<(), <D as dfdx::prelude::HasErr>::Err>>;

/// Backward steps in the order in which their forward halves ran. Any dfdx op records onto it, ours alike.
///
/// Unlike dfdx's own tape it needs no scalar loss: [`GradTape::run`] starts from whatever gradients it is handed.
pub struct GradTape<D: Device> {
    ops: Vec<(u64, BackwardOp<D>)>,
}

/// A device's failure while gradients were computed.
pub type BackwardError<D> = <D as dfdx::prelude::HasErr>::Err;

impl<D: Device> Default for GradTape<D> {
    fn default() -> Self {
        GradTape { ops: Vec::new() }
    }
}

impl<D: Device> GradTape<D> {
    /// Runs the backward steps, last first, adding to `gradients`. Each step and what it kept is dropped as it is done.
    pub fn run(mut self, gradients: &mut Gradients<Float, D>) -> Result<(), BackwardError<D>> {
        // merged tapes hold steps of several branches; time restores the order
        self.ops.sort_by_key(|(time, _)| *time);
        while let Some((_, op)) = self.ops.pop() {
            op(gradients)?;
        }
        Ok(())
    }
}

/// Orders steps across tapes that are merged later.
static TIME: AtomicU64 = AtomicU64::new(0);

impl<D: Device> Tape<Float, D> for GradTape<D> {
    const OWNS_TAPE: bool = true;

    fn add_backward_op<F>(&mut self, operation: F)
    where
        F: 'static + FnOnce(&mut Gradients<Float, D>) -> Result<(), <D as dfdx::prelude::HasErr>::Err>,
    {
        self.ops.push((TIME.fetch_add(1, Ordering::Relaxed), Box::new(operation)));
    }
}

impl<D: Device> Merge<NoneTape> for GradTape<D> {
    fn merge(self, _: NoneTape) -> Self {
        self
    }
}

impl<D: Device> Merge<GradTape<D>> for GradTape<D>
where
    D: Storage<Float>,
{
    fn merge(mut self, mut other: Self) -> Self {
        self.ops.append(&mut other.ops);
        self
    }
}
