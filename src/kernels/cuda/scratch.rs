//! Memory that a kernel needs for a moment, or that activations live in.

use std::sync::Arc;

use cudarc::driver::{CudaDevice, CudaSlice, DevicePtr, DeviceSlice};
use dfdx::prelude::CudaError;

use super::launch::{Given, Pointer};
use super::view::{Any, AnyMut, Kind, View, ViewMut};

/// Numbers of one kind in the GPU's memory; freed in the order of the stream, so that it may be dropped as soon as the last kernel that
/// uses it has been started.
pub struct Memory {
    bytes: CudaSlice<u8>,
    kind: Kind,
    len: usize,
}

impl Memory {
    /// Room for so many numbers, which are any.
    pub fn unwritten(device: &Arc<CudaDevice>, kind: Kind, len: usize) -> Result<Memory, CudaError> {
        // SAFETY: whoever takes it writes every number before one is read; the tests run on memory that is all NaN
        let bytes = unsafe { device.alloc::<u8>(len * kind.size()) }?;
        Ok(Memory { bytes, kind, len })
    }

    /// So many zeros.
    pub fn zeros(device: &Arc<CudaDevice>, kind: Kind, len: usize) -> Result<Memory, CudaError> {
        Ok(Memory { bytes: device.alloc_zeros::<u8>(len * kind.size())?, kind, len })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn pointer(&self) -> u64 {
        *self.bytes.device_ptr()
    }

    pub fn any(&self) -> Any<'_> {
        debug_assert!(self.bytes.len() >= self.len * self.kind.size());
        // SAFETY: the memory is ours, and lent for as long as the view lives
        unsafe { Any::new(self.kind, self.pointer(), self.len) }
    }

    pub fn any_mut(&mut self) -> AnyMut<'_> {
        // SAFETY: as above, and we are borrowed mutably
        unsafe { AnyMut::new(self.kind, self.pointer(), self.len) }
    }

    /// # Panics
    /// For other numbers than f32.
    pub fn view(&self) -> View<'_> {
        assert_eq!(self.kind, Kind::F32, "a view of f32 numbers");
        // SAFETY: as above
        unsafe { View::new(self.pointer(), self.len) }
    }

    /// # Panics
    /// For other numbers than f32.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        assert_eq!(self.kind, Kind::F32, "a view of f32 numbers");
        // SAFETY: as above
        unsafe { ViewMut::new(self.pointer(), self.len) }
    }
}

impl Given for Memory {
    type Taken = Pointer;
    fn given(&self) -> Pointer {
        Pointer(self.pointer())
    }
}
