//! What tells one optimizer from another: how a parameter moves along its gradient.

use crate::kernels::Kernels;
use crate::nn::parameter::Erased;
use crate::runtime::stage::StageError;
use crate::tensor::{Buffer, Device, Float};

/// One optimizer's arithmetic.
pub trait Rule<D: Kernels> {
    /// What it keeps of every parameter, each of the parameter's size and 0 at first: the words for them in a saved state.
    fn keeps(&self) -> &'static [&'static str];

    /// Moves one parameter, and in the same pass over memory an average of it that is at hand, with the bits that
    /// [`crate::kernels::UpdateKernels::lerp`] would give it afterwards.
    ///
    /// # Errors
    /// When the device fails.
    fn update(&self, device: &D, update: Update<'_, D>) -> Result<(), StageError>;
}

/// One parameter's update in one step.
pub struct Update<'a, D: Device> {
    pub weights: &'a mut dyn Erased<D>,
    /// Axes of its published shape.
    pub axes: usize,
    pub gradient: D::View<'a>,
    /// What the gradient is multiplied by: clipping.
    pub scale: Float,
    pub lr: f64,
    /// Weight decay; 0 for a parameter that it spares.
    pub decay: f64,
    /// In the order of [`Rule::keeps`].
    pub kept: &'a mut [Buffer<D>],
    /// Updates of this parameter, this one included.
    pub updates: u64,
    pub average: Option<D::ViewMut<'a>>,
    /// How much of itself the average keeps.
    pub momentum: f64,
}

/// A rule that was handed something else than it keeps.
pub fn misfit() -> StageError {
    StageError::Bug("an optimizer's rule was handed buffers that are not its own".into())
}
