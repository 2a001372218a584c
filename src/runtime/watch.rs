//! Who looks on while a step's stages fire.

use super::stage::{Moment, StageError, Value};
use crate::plan::NodeId;
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
}
