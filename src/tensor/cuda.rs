//! dfdx's CUDA device: views are addresses in the GPU's memory.

use std::fmt::{self, Write};

use cudarc::driver::DevicePtr;
use dfdx::prelude::{Cuda, CudaError, HasShape, Shape, Tensor, ZerosTensor};

use super::device::{Buffer, Device, Float};
use crate::kernels::Products;
use crate::kernels::cuda::{Any, AnyMut, Gpu, Kind, Memory, View, ViewMut, peak};

impl Device for Cuda {
    type View<'a> = View<'a>;
    type ViewMut<'a> = ViewMut<'a>;
    type AnyView<'a> = Any<'a>;
    type AnyViewMut<'a> = AnyMut<'a>;
    type Activations = Memory;

    fn word(&self) -> String {
        Gpu::of(self).map_or("cuda".into(), |gpu| format!("cuda:{}", gpu.ordinal()))
    }

    fn allow_tf32(&self, allowed: bool) {
        if let Ok(gpu) = Gpu::of(self) {
            gpu.allow_tf32(allowed);
        }
    }

    fn peak_memory(&self) -> Option<u64> {
        Gpu::of(self).ok()?.peak().ok()
    }

    fn matrix_peak(&self, products: Products) -> Option<f64> {
        peak::gflops(Gpu::of(self).ok()?, products).ok()
    }

    fn forget_peak(&self) {
        // a peak that can't be forgotten is an upper bound still
        let _ = Gpu::of(self).map(Gpu::forget_peak);
    }

    /// dfdx makes no tensor without writing it: zeros, which cost a pass over the memory.
    fn empty<S: Shape>(&self, shape: S) -> Result<Tensor<S, Float, Self>, CudaError> {
        self.try_zeros_like(&shape)
    }

    fn view<S: Shape>(tensor: &Tensor<S, Float, Self>) -> View<'_> {
        let (pointer, len) = place(tensor);
        // SAFETY: the place is the tensor's own memory, which lives for as long as it is borrowed
        unsafe { View::new(pointer, len) }
    }

    /// No copy is made here: dfdx doesn't tell whether another handle lives. Weights have one owner while they are updated, and
    /// other tensors are written before anybody else has seen them.
    fn view_mut<S: Shape>(tensor: &mut Tensor<S, Float, Self>) -> ViewMut<'_> {
        let (pointer, len) = place(tensor);
        // SAFETY: as above, and the tensor is borrowed mutably
        unsafe { ViewMut::new(pointer, len) }
    }

    fn buffer(buffer: &Buffer<Self>) -> View<'_> {
        // SAFETY: the buffer is borrowed for as long as the view lives
        unsafe { View::new(*buffer.device_ptr(), buffer_len(buffer)) }
    }

    fn buffer_mut(buffer: &mut Buffer<Self>) -> ViewMut<'_> {
        // SAFETY: as above, mutably
        unsafe { ViewMut::new(*buffer.device_ptr(), buffer_len(buffer)) }
    }

    fn activations(&self, products: Products, len: usize) -> Result<Memory, CudaError> {
        Gpu::of(self)?.unwritten(Kind::of(products), len)
    }

    fn kept(activations: &Memory) -> Any<'_> {
        activations.any()
    }

    fn kept_mut(activations: &mut Memory) -> AnyMut<'_> {
        activations.any_mut()
    }

    fn read(&self, view: View<'_>) -> Result<Vec<Float>, CudaError> {
        Gpu::of(self)?.read(view)
    }

    fn write(&self, view: ViewMut<'_>, values: &[Float]) -> Result<(), CudaError> {
        if view.len() != values.len() {
            return Err(CudaError::Cpu(dfdx::prelude::CpuError::WrongNumElements));
        }
        Gpu::of(self)?.write(view, values)
    }
}

fn buffer_len(buffer: &Buffer<Cuda>) -> usize {
    use cudarc::driver::DeviceSlice;
    buffer.len()
}

/// Where a tensor's numbers stand, and how many there are.
///
/// dfdx shows neither, but its `Debug` text begins with them: `Tensor { id: …, data: … { cu_device_ptr: 140…, len: 12, …`. The
/// text is cut off right there: what follows is long.
///
/// # Panics
/// For a permuted or broadcast tensor whose memory has another size than its shape, and for a text of another form (judged whenever
/// a GPU is opened, and by the tests).
fn place<S: Shape>(tensor: &Tensor<S, Float, Cuda>) -> (u64, usize) {
    let len = tensor.shape().num_elements();
    let mut reader = Reader::default();
    // the end of the reading is an error on purpose
    let _ = write!(reader, "{tensor:?}");
    let (pointer, physical) = (reader.number("cu_device_ptr: "), reader.number("len: "));
    assert_eq!(physical, Some(len as u64), "numbers of {:?}: the tensor must be contiguous", tensor.shape());
    (pointer.expect("dfdx's text of a tensor names its place"), len)
}

/// The beginning of a text.
struct Reader {
    text: [u8; 256],
    len: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { text: [0; 256], len: 0 }
    }
}

impl Write for Reader {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let count = piece.len().min(self.text.len() - self.len);
        self.text[self.len..self.len + count].copy_from_slice(&piece.as_bytes()[..count]);
        self.len += count;
        // a number is complete when something follows it
        let complete = self.number("len: ").is_some() && piece.starts_with(',');
        if complete || self.len == self.text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

impl Reader {
    /// The number behind a word.
    fn number(&self, word: &str) -> Option<u64> {
        let text = &self.text[..self.len];
        let at = text.windows(word.len()).position(|part| part == word.as_bytes())? + word.len();
        let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.map(|digit| u64::from(digit - b'0')).try_fold(None, |sum: Option<u64>, digit| {
            Some(Some(sum.unwrap_or(0).checked_mul(10)?.checked_add(digit)?))
        })?
    }
}
