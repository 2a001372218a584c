//! From a stage's parameters to the stage that runs, on the thread that will own it.

use super::stage::{Stage, StageError};
use crate::plan::NodeId;
use crate::tensor::Device;

/// Builds the stages of a run. Shared by all threads; each builds its own stages, which never leave it.
pub trait Build<D: Device>: Sync {
    /// The stage of a node; for a host node with several workers, one for each.
    fn build(&self, node: NodeId) -> Result<Box<dyn Stage<D>>, StageError>;
}

impl<D: Device, F> Build<D> for F
where
    F: Fn(NodeId) -> Result<Box<dyn Stage<D>>, StageError> + Sync,
{
    fn build(&self, node: NodeId) -> Result<Box<dyn Stage<D>>, StageError> {
        self(node)
    }
}
