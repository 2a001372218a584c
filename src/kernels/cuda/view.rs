//! Numbers in a GPU's memory, lent: what a kernel is handed.

use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::ops::Range;

use cudarc::driver::sys::CUdeviceptr;

use crate::kernels::Products;

/// f32 numbers to read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pointer: CUdeviceptr,
    len: usize,
    /// The tensor that they are the numbers of, where they are a tensor's.
    tensor: Option<NonZeroU64>,
    lent: PhantomData<&'a [f32]>,
}

/// f32 numbers to write.
#[derive(Debug)]
pub struct ViewMut<'a> {
    pointer: CUdeviceptr,
    len: usize,
    /// The tensor that they are all the numbers of.
    tensor: Option<NonZeroU64>,
    lent: PhantomData<&'a mut [f32]>,
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    F32,
    Bf16,
    F16,
}

/// Numbers of any kind to read.
#[derive(Clone, Copy, Debug)]
pub struct Any<'a> {
    pointer: CUdeviceptr,
    len: usize,
    kind: Kind,
    lent: PhantomData<&'a [f32]>,
}

/// Numbers of any kind to write.
#[derive(Debug)]
pub struct AnyMut<'a> {
    pointer: CUdeviceptr,
    len: usize,
    kind: Kind,
    lent: PhantomData<&'a mut [f32]>,
}

impl Kind {
    /// How activations are stored that go into such products.
    pub fn of(products: Products) -> Kind {
        match products {
            Products::F32 => Kind::F32,
            Products::Bf16 => Kind::Bf16,
            Products::F16 => Kind::F16,
        }
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Kind::F32 => 4,
            Kind::Bf16 | Kind::F16 => 2,
        }
    }

    /// What a kernel's name ends with that is made for this kind.
    pub fn suffix(self) -> &'static str {
        match self {
            Kind::F32 => "f32",
            Kind::Bf16 => "bf16",
            Kind::F16 => "f16",
        }
    }
}

impl<'a> View<'a> {
    /// # Safety
    /// `len` numbers must stand at this place of the GPU's memory, and nobody may write them, or free them before `'a` is over, except
    /// on the stream that all kernels run on.
    pub unsafe fn new(pointer: CUdeviceptr, len: usize) -> Self {
        View { pointer, len, tensor: None, lent: PhantomData }
    }

    /// The same, known as the numbers of a tensor. Whoever changes them says so ([`super::Gpu::forget`]).
    pub fn of_tensor(self, tensor: u64) -> Self {
        View { tensor: NonZeroU64::new(tensor), ..self }
    }

    /// The tensor that they are the numbers of, where they are a tensor's.
    pub fn tensor(self) -> Option<u64> {
        self.tensor.map(NonZeroU64::get)
    }

    pub fn pointer(self) -> CUdeviceptr {
        self.pointer
    }

    pub fn len(self) -> usize {
        self.len
    }

    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// A stretch of them.
    pub fn slice(self, range: Range<usize>) -> View<'a> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} numbers", self.len);
        View { pointer: self.pointer + 4 * range.start as u64, len: range.len(), ..self }
    }
}

impl<'a> ViewMut<'a> {
    /// # Safety
    /// As for [`View::new`], and nobody else may look at them.
    pub unsafe fn new(pointer: CUdeviceptr, len: usize) -> Self {
        ViewMut { pointer, len, tensor: None, lent: PhantomData }
    }

    /// The same, known as the numbers of a tensor, of which nothing is known any more that was made of them ([`super::Gpu::forget`]). Who is
    /// given it may make that anew while it writes them, and give it up then: what is lent on of it is not known as the tensor's.
    pub fn of_tensor(self, tensor: u64) -> Self {
        ViewMut { tensor: NonZeroU64::new(tensor), ..self }
    }

    /// The tensor that they are the numbers of, where it is known.
    pub fn tensor(&self) -> Option<u64> {
        self.tensor.map(NonZeroU64::get)
    }

    pub fn pointer(&self) -> CUdeviceptr {
        self.pointer
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The same numbers, lent on.
    pub fn lend(&mut self) -> ViewMut<'_> {
        ViewMut { pointer: self.pointer, len: self.len, tensor: None, lent: PhantomData }
    }

    /// The same numbers, to read.
    pub fn as_view(&self) -> View<'_> {
        View { pointer: self.pointer, len: self.len, tensor: None, lent: PhantomData }
    }

    /// A stretch of them.
    pub fn slice(&mut self, range: Range<usize>) -> ViewMut<'_> {
        let View { pointer, len, .. } = self.as_view().slice(range);
        ViewMut { pointer, len, tensor: None, lent: PhantomData }
    }
}

impl<'a> Any<'a> {
    /// # Safety
    /// As for [`View::new`], for numbers of this kind.
    pub unsafe fn new(kind: Kind, pointer: CUdeviceptr, len: usize) -> Self {
        Any { pointer, len, kind, lent: PhantomData }
    }

    pub fn pointer(self) -> CUdeviceptr {
        self.pointer
    }

    pub fn len(self) -> usize {
        self.len
    }

    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    pub fn kind(self) -> Kind {
        self.kind
    }

    /// A stretch of them.
    pub fn slice(self, range: Range<usize>) -> Any<'a> {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} numbers", self.len);
        let pointer = self.pointer + (self.kind.size() * range.start) as u64;
        Any { pointer, len: range.len(), ..self }
    }
}

impl<'a> AnyMut<'a> {
    /// # Safety
    /// As for [`ViewMut::new`], for numbers of this kind.
    pub unsafe fn new(kind: Kind, pointer: CUdeviceptr, len: usize) -> Self {
        AnyMut { pointer, len, kind, lent: PhantomData }
    }

    pub fn pointer(&self) -> CUdeviceptr {
        self.pointer
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same numbers, lent on.
    pub fn lend(&mut self) -> AnyMut<'_> {
        AnyMut { pointer: self.pointer, len: self.len, kind: self.kind, lent: PhantomData }
    }

    /// A stretch of them.
    pub fn slice(&mut self, range: Range<usize>) -> AnyMut<'_> {
        let Any { pointer, len, kind, .. } = self.as_any().slice(range);
        AnyMut { pointer, len, kind, lent: PhantomData }
    }

    /// The same numbers, to read.
    pub fn as_any(&self) -> Any<'_> {
        Any { pointer: self.pointer, len: self.len, kind: self.kind, lent: PhantomData }
    }
}

impl<'a> From<View<'a>> for Any<'a> {
    fn from(view: View<'a>) -> Self {
        Any { pointer: view.pointer, len: view.len, kind: Kind::F32, lent: PhantomData }
    }
}

impl<'a> From<ViewMut<'a>> for AnyMut<'a> {
    fn from(view: ViewMut<'a>) -> Self {
        AnyMut { pointer: view.pointer, len: view.len, kind: Kind::F32, lent: PhantomData }
    }
}
