//! What goes from thread to thread though its type does not say that it may.
//!
//! dfdx's GPU device holds a stream's handle, a bare pointer, so the compiler takes it and every tensor on it for the property of one
//! thread. The driver does not: its handles may be used by any thread that has made the GPU its own, which every call here and in
//! cudarc does first. Tapes are another matter: they stay where they are, and nothing here holds one.

use std::ops::{Deref, DerefMut};

use super::{Batched, Device};
use crate::nn::network::Network;
use crate::nn::predictor::Predictor;

/// Something that may be sent to other threads and looked at by several.
#[repr(transparent)]
pub struct Crossing<T: ?Sized>(T);

/// What holds devices, tensors without a tape, and otherwise only what may cross threads anyway.
///
/// # Safety
/// Nothing else of the type may be bound to a thread.
pub unsafe trait Travels {}

// SAFETY: of a device, only the stream's handle was in the way (see above)
unsafe impl<D: Device> Travels for D {}
// SAFETY: a network's fields are tensors of its weights and sizes
unsafe impl<D: Device> Travels for dyn Network<D> {}
// SAFETY: as above
unsafe impl<D: Device> Travels for Predictor<D> {}

// SAFETY: that is what `Travels` vouches for
unsafe impl<T: ?Sized + Travels> Send for Crossing<T> {}
// SAFETY: tensors and devices change through `&mut` alone, or behind locks of their own; as above
unsafe impl<T: ?Sized + Travels> Sync for Crossing<T> {}
// SAFETY: a tensor without a tape and its dimensions, as above
unsafe impl<D: Device> Send for Batched<D> {}
// SAFETY: as above
unsafe impl<D: Device> Sync for Batched<D> {}

impl<T> Crossing<T> {
    pub fn new(inner: T) -> Self {
        Crossing(inner)
    }

    /// The same value, looked at from several threads.
    pub fn of(inner: &T) -> &Self {
        // SAFETY: `Crossing` is laid out as what it holds, and the reference lives as long
        unsafe { &*std::ptr::from_ref(inner).cast() }
    }
}

impl<T: ?Sized> Deref for Crossing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for Crossing<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
