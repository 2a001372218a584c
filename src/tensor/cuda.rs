//! dfdx's CUDA device: views are addresses in the GPU's memory.

use std::fmt::{self, Write};
use std::ops::Range;

use cudarc::driver::DevicePtr;
use dfdx::prelude::{Const, Cuda, CudaError, HasShape, Shape, Tensor, TensorFromVec, ZerosTensor};

use super::device::{Buffer, Device, Float};
use crate::kernels::cuda::{Any, AnyMut, Gpu, Kept, Kind, Memory, View, ViewMut, peak};
use crate::kernels::{KernelTime, Products};

impl Device for Cuda {
    type View<'a> = View<'a>;
    type ViewMut<'a> = ViewMut<'a>;
    type AnyView<'a> = Any<'a>;
    type AnyViewMut<'a> = AnyMut<'a>;
    type Activations = Memory;

    const STORES_FACTORS: bool = true;

    fn word(&self) -> String {
        Gpu::of(self).map_or("cuda".into(), |gpu| format!("cuda:{}", gpu.ordinal()))
    }

    fn name(&self) -> String {
        let card = Gpu::of(self).ok().and_then(Gpu::name);
        card.map_or_else(|| self.word(), |card| format!("{}, {card}", self.word()))
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

    fn time_kernels(&self) {
        if let Ok(gpu) = Gpu::of(self) {
            gpu.time_kernels();
        }
    }

    fn kernel_times(&self) -> Vec<KernelTime> {
        Gpu::of(self).and_then(Gpu::kernel_times).unwrap_or_default()
    }

    fn forget_peak(&self) {
        // a peak that can't be forgotten is an upper bound still
        let _ = Gpu::of(self).map(Gpu::forget_peak);
    }

    fn let_go(&self) {
        if let Ok(gpu) = Gpu::of(self) {
            gpu.with_kept(Kept::clear);
        }
    }

    /// dfdx makes no tensor without writing it: zeros, which cost a pass over the memory.
    fn empty<S: Shape>(&self, shape: S) -> Result<Tensor<S, Float, Self>, CudaError> {
        self.try_zeros_like(&shape)
    }

    fn view<S: Shape>(tensor: &Tensor<S, Float, Self>) -> View<'_> {
        let Place { pointer, len, id } = place(tensor);
        // SAFETY: the place is the tensor's own memory, which lives for as long as it is borrowed
        unsafe { View::new(pointer, len) }.of_tensor(id)
    }

    /// No copy is made here: dfdx doesn't tell whether another handle lives. Weights have one owner while they are updated, and
    /// other tensors are written before anybody else has seen them.
    fn view_mut<S: Shape>(tensor: &mut Tensor<S, Float, Self>) -> ViewMut<'_> {
        let Place { pointer, len, id } = place(tensor);
        Gpu::forget(id);
        // SAFETY: as above, and the tensor is borrowed mutably
        unsafe { ViewMut::new(pointer, len) }.of_tensor(id)
    }

    fn buffer(buffer: &Buffer<Self>) -> View<'_> {
        // SAFETY: the buffer is borrowed for as long as the view lives
        unsafe { View::new(*buffer.device_ptr(), buffer_len(buffer)) }
    }

    fn buffer_mut(buffer: &mut Buffer<Self>) -> ViewMut<'_> {
        // SAFETY: as above, mutably
        unsafe { ViewMut::new(*buffer.device_ptr(), buffer_len(buffer)) }
    }

    fn stretch<'a>(view: View<'a>, range: Range<usize>) -> View<'a>
    where
        Self: 'a,
    {
        view.slice(range)
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

    fn wide(activations: &Memory) -> View<'_> {
        activations.view()
    }

    fn wide_mut(activations: &mut Memory) -> ViewMut<'_> {
        activations.view_mut()
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

/// Where a tensor's numbers stand.
struct Place {
    pointer: u64,
    len: usize,
    /// The tensor's own number, which no other has; 0 for none.
    id: u64,
}

/// Finds a tensor's numbers.
///
/// dfdx does not show where they are, but its `Debug` text begins with it: `Tensor { id: UniqueId(3), data: … { cu_device_ptr: 140…,
/// len: 12, …`. The text is cut off right there: what follows is long.
///
/// # Panics
/// For a permuted or broadcast tensor whose memory has another size than its shape.
fn place<S: Shape>(tensor: &Tensor<S, Float, Cuda>) -> Place {
    // every GPU that is opened is tried with `seam_holds` first
    let place = find(tensor).expect("dfdx's text of a tensor says where its numbers are");
    let shape = tensor.shape();
    assert_eq!(place.len, shape.num_elements(), "numbers of {shape:?}: the tensor must be contiguous");
    place
}

/// What a tensor's text says; nothing where it has another form.
fn find<S: Shape>(tensor: &Tensor<S, Float, Cuda>) -> Option<Place> {
    let mut reader = Reader::default();
    // the end of the reading is an error on purpose
    let _ = write!(reader, "{tensor:?}");
    // numbers are counted from 0, and 0 means none here
    Some(Place { pointer: reader.pointer?, len: reader.len? as usize, id: reader.id.map_or(0, |id| id + 1) })
}

/// Whether a tensor's numbers are found where its text says: tried by a round trip when a GPU is opened, before anything relies on it.
///
/// # Errors
/// When the driver refuses to make the tensor.
pub fn seam_holds(device: &Cuda, gpu: &Gpu) -> Result<bool, CudaError> {
    let values: Vec<Float> = (0..77).map(|i| i as Float * 0.37 - 11.0).collect();
    let tensor = device.try_tensor_from_vec(values.clone(), (7usize, Const::<11>))?;
    let Some(Place { pointer, len, .. }) = find(&tensor).filter(|place| place.len == values.len()) else {
        return Ok(false);
    };
    // SAFETY: the tensor lives until the numbers are read; an address that is none the driver refuses
    let found = gpu.read(unsafe { View::new(pointer, len) });
    Ok(found.is_ok_and(|found| found == values))
}

/// Reads a tensor's text as it is written, word by word, and ends it where nothing more is wanted.
#[derive(Default)]
struct Reader {
    awaits: Option<Word>,
    id: Option<u64>,
    pointer: Option<u64>,
    len: Option<u64>,
}

/// A word that a number follows.
#[derive(Clone, Copy)]
enum Word {
    Id,
    Pointer,
    Len,
}

impl Write for Reader {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        match piece {
            "UniqueId" if self.id.is_none() => self.awaits = Some(Word::Id),
            "cu_device_ptr" if self.pointer.is_none() => self.awaits = Some(Word::Pointer),
            "len" if self.pointer.is_some() => self.awaits = Some(Word::Len),
            _ => {
                if let (Some(word), Ok(number)) = (self.awaits, piece.parse()) {
                    self.awaits = None;
                    match word {
                        Word::Id => self.id = Some(number),
                        Word::Pointer => self.pointer = Some(number),
                        Word::Len => {
                            self.len = Some(number);
                            return Err(fmt::Error);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::*;

    use super::Device as _;
    use crate::kernels::cuda::Gpu;
    use crate::kernels::cuda::probe::device;

    #[test]
    fn views_reach_the_tensor_whatever_its_shape() {
        let Some(device) = device() else { return };
        let gpu = Gpu::of(&device).unwrap();
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let mut a = device.tensor_from_vec(values.clone(), (2usize, Const::<3>, 4usize));
        assert_eq!(gpu.read(Cuda::view(&a)).unwrap(), values);
        let flat = a.clone().reshape_like(&(24usize,));
        assert_eq!(Cuda::view(&flat).pointer(), Cuda::view(&a).pointer(), "one memory");
        let other = device.tensor_from_vec(vec![9.0; 24], (24usize,));
        assert_ne!(Cuda::view(&other).tensor(), Cuda::view(&a).tensor(), "each has a number of its own");
        let doubled: Vec<f32> = values.iter().map(|x| 2.0 * x).collect();
        gpu.write(Cuda::view_mut(&mut a), &doubled).unwrap();
        assert_eq!(a.as_vec(), doubled);
        let none = device.tensor_from_vec(Vec::new(), (0usize, Const::<3>));
        assert_eq!(Cuda::view(&none).len(), 0);
    }
}
