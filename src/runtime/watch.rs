//! Who looks on while a step's stages fire.

use super::stage::{Moment, StageError, Value};
use crate::plan::NodeId;
use crate::report::pictures::Drawn;
use crate::tensor::Device;

/// Reads what passes between the stages of the island and reports numbers of its own for the step's record. It changes nothing.
pub trait Watch<D: Device> {
    /// A stage has fired forward on these inputs and gave these outputs, each in the order of its ports. What is wanted of them later
    /// is to be copied: whoever owns a value expects to be its only holder.
    ///
    /// # Errors
    /// When the device fails.
    fn saw(
        &mut self,
        node: NodeId,
        at: &Moment,
        inputs: &[Option<Value<D>>],
        outputs: &[Option<Value<D>>],
    ) -> Result<(), StageError>;

    /// After the step's last firing: what it came to.
    ///
    /// # Errors
    /// When the device fails.
    fn report(&mut self) -> Result<Vec<(&'static str, f64)>, StageError>;

    /// After that: pictures to be kept beside the record, each once.
    ///
    /// # Errors
    /// When the device fails.
    fn pictures(&mut self) -> Result<Vec<Drawn>, StageError> {
        Ok(Vec::new())
    }
}

/// Several that look on, one after the other.
pub struct Several<D: Device>(pub Vec<Box<dyn Watch<D>>>);

impl<D: Device> Watch<D> for Several<D> {
    fn saw(
        &mut self,
        node: NodeId,
        at: &Moment,
        inputs: &[Option<Value<D>>],
        outputs: &[Option<Value<D>>],
    ) -> Result<(), StageError> {
        self.0.iter_mut().try_for_each(|watch| watch.saw(node, at, inputs, outputs))
    }

    fn report(&mut self) -> Result<Vec<(&'static str, f64)>, StageError> {
        let all: Vec<_> = self.0.iter_mut().map(|watch| watch.report()).collect::<Result<_, _>>()?;
        Ok(all.concat())
    }

    fn pictures(&mut self) -> Result<Vec<Drawn>, StageError> {
        let all: Vec<_> = self.0.iter_mut().map(|watch| watch.pictures()).collect::<Result<_, _>>()?;
        Ok(all.into_iter().flatten().collect())
    }
}
