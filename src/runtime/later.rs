//! Work that a host stage leaves to the island.

use std::sync::{Arc, Mutex, PoisonError};

use super::stage::StageError;
use crate::tensor::{Batched, Device};

/// Work of a device that a host stage has got ready and does not start itself: among what the device has still to do it would come too early,
/// before the step that it is for, and make that which is under way wait for it.
pub struct Later<D: Device>(Arc<Mutex<Making<D>>>);

enum Making<D: Device> {
    Ready(Box<dyn FnOnce() -> Result<Batched<D>, StageError> + Send>),
    Made(Batched<D>),
    Failed,
}

impl<D: Device> Later<D> {
    pub fn new(make: impl FnOnce() -> Result<Batched<D>, StageError> + Send + 'static) -> Self {
        Later(Arc::new(Mutex::new(Making::Ready(Box::new(make)))))
    }

    /// The tensor, which is made at the first call.
    ///
    /// # Errors
    /// The maker's, and where it has failed before.
    pub fn make(&self) -> Result<Batched<D>, StageError> {
        let mut making = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *making, Making::Failed) {
            Making::Ready(make) => *making = Making::Made(make()?),
            made => *making = made,
        }
        match &*making {
            Making::Made(tensor) => Ok(tensor.clone()),
            _ => Err(StageError::Bug("a tensor is asked for again that could not be made".into())),
        }
    }
}

impl<D: Device> Clone for Later<D> {
    /// Another handle to the same work.
    fn clone(&self) -> Self {
        Later(self.0.clone())
    }
}
