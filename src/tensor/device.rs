//! What dinoflow asks of a dfdx device beyond dfdx's own traits.

use std::ops::Range;

use dfdx::prelude::{Shape, Storage, Tensor};

use crate::kernels::{KernelTime, Products};

/// The number type of weights and of all sums.
pub type Float = f32;

/// A bare buffer of a device: what dfdx keeps a gradient in.
pub type Buffer<D> = <D as Storage<Float>>::Vec;

/// A device that networks live on: dfdx's `Cpu`, and its `Cuda` behind the feature of that name.
///
/// dfdx hides the storage of a tensor; these functions lend it to kernels. A contiguous tensor is asked for
/// throughout: dinoflow makes no others.
pub trait Device: dfdx::tensor_ops::Device<Float> + Storage<Float, Vec: Send + Sync> + 'static {
    /// A tensor's numbers, readable.
    type View<'a>: Copy + Send + Sync;
    /// A tensor's numbers, writable, nobody else looking.
    type ViewMut<'a>: Send;

    /// Numbers of either precision, readable.
    type AnyView<'a>: Copy + Send + Sync + From<Self::View<'a>>;
    /// Numbers of either precision, writable.
    type AnyViewMut<'a>: Send + From<Self::ViewMut<'a>>;
    /// A buffer of activations in the precision of a network's products.
    type Activations: Send + Sync;

    /// Whether factors of 16-bit products are best stored as such beforehand; else products round them as they read them.
    const STORES_FACTORS: bool = false;

    /// The word on the command line: `cpu`, `cuda:0`.
    fn word(&self) -> String;

    /// The device in words: the word on the command line, and whose make it is where that is known.
    fn name(&self) -> String {
        self.word()
    }

    /// Whether f32 factors of products may be rounded to 10 bits of mantissa; of no meaning where nothing gains by it.
    fn allow_tf32(&self, allowed: bool) {
        let _ = allowed;
    }

    /// The most bytes of a memory of its own that were in use at once, since [`Device::forget_peak`]; none where tensors live in the
    /// process's.
    fn peak_memory(&self) -> Option<u64> {
        None
    }

    /// GFLOP/s that large products with such factors reach, where the device is no part of the processor.
    fn matrix_peak(&self, products: Products) -> Option<f64> {
        let _ = products;
        None
    }

    /// Times every kernel from now on, where the device works beside the processor.
    fn time_kernels(&self) {}

    /// The time of each kernel since [`Device::time_kernels`], the longest first.
    fn kernel_times(&self) -> Vec<KernelTime> {
        Vec::new()
    }

    /// Lets the peak of memory be what is in use now.
    fn forget_peak(&self) {}

    /// Lets go what is kept for networks, which may be gone.
    fn let_go(&self) {}

    /// A tensor whose numbers are any: all are yet to be written by a kernel.
    fn empty<S: Shape>(&self, shape: S) -> Result<Tensor<S, Float, Self>, Self::Err>;

    /// A bare buffer of zeros.
    fn zeroed(&self, len: usize) -> Result<Buffer<Self>, Self::Err> {
        Storage::<Float>::try_alloc_len(self, len)
    }

    /// Lends a tensor's numbers for reading.
    fn view<S: Shape>(tensor: &Tensor<S, Float, Self>) -> Self::View<'_>;

    /// Lends a tensor's numbers for writing. This handle must be the only one: on the CPU the writes would go to a copy of its own,
    /// on a GPU to all of them.
    fn view_mut<S: Shape>(tensor: &mut Tensor<S, Float, Self>) -> Self::ViewMut<'_>;

    /// Lends a bare buffer (a gradient) for reading.
    fn buffer(buffer: &Buffer<Self>) -> Self::View<'_>;

    /// Lends a bare buffer (a gradient) for writing.
    fn buffer_mut(buffer: &mut Buffer<Self>) -> Self::ViewMut<'_>;

    /// Some of a view's numbers.
    fn stretch<'a>(view: Self::View<'a>, range: Range<usize>) -> Self::View<'a>
    where
        Self: 'a;

    /// So many activations stored in the precision of `products`. They are any numbers: all are yet to be written by a kernel.
    fn activations(&self, products: Products, len: usize) -> Result<Self::Activations, Self::Err>;

    /// Lends activations for reading.
    fn kept(activations: &Self::Activations) -> Self::AnyView<'_>;

    /// Lends activations for writing.
    fn kept_mut(activations: &mut Self::Activations) -> Self::AnyViewMut<'_>;

    /// Lends activations that are stored in f32, for reading.
    ///
    /// # Panics
    /// For those of another precision.
    fn wide(activations: &Self::Activations) -> Self::View<'_>;

    /// Lends activations that are stored in f32, for writing.
    ///
    /// # Panics
    /// For those of another precision.
    fn wide_mut(activations: &mut Self::Activations) -> Self::ViewMut<'_>;

    /// Copies a view to the host.
    fn read(&self, view: Self::View<'_>) -> Result<Vec<Float>, Self::Err>;

    /// Overwrites a view from the host; the lengths must agree.
    fn write(&self, view: Self::ViewMut<'_>, values: &[Float]) -> Result<(), Self::Err>;
}
