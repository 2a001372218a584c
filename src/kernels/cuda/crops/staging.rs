//! Pictures on their way to the GPU: memory of the host's that it reads by itself, while the host goes on.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaDevice, result, sys};
use dfdx::prelude::CudaError;

use super::record::Record;
use crate::kernels::cuda::gpu::Gpu;
use crate::kernels::cuda::scratch::Memory;
use crate::kernels::cuda::view::Kind;

/// An 8-bit RGB picture in the host's memory, interleaved, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    pub height: usize,
    pub width: usize,
    pub pixels: &'a [u8],
}

/// Where a picture stands among others.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub offset: usize,
    /// Bytes from one row to the next, a multiple of 4.
    pub pitch: usize,
    pub height: usize,
    pub width: usize,
}

/// Pictures in the GPU's memory.
pub struct Pictures {
    memory: Memory,
    places: Vec<Place>,
}

impl Pictures {
    pub fn place(&self, index: usize) -> Place {
        assert!(index < self.places.len(), "picture {index} of {}", self.places.len());
        self.places[index]
    }

    pub fn pointer(&self) -> u64 {
        self.memory.any().pointer()
    }
}

/// Page-locked memory of the host's, and whether the GPU has read what was last sent from it.
pub struct Pinned {
    device: Arc<CudaDevice>,
    bytes: *mut u8,
    len: usize,
    read: sys::CUevent,
}

// SAFETY: the memory and the event are the process's, not a thread's
unsafe impl Send for Pinned {}

impl Pinned {
    /// So many bytes, which are zeros.
    ///
    /// # Errors
    /// When the system has not so much memory to lock.
    pub fn new(gpu: &Gpu, len: usize) -> Result<Pinned, CudaError> {
        gpu.bind()?;
        let mut read: sys::CUevent = std::ptr::null_mut();
        let sleep = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32;
        let plain = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: the place for the event is ours
        unsafe { sys::cuEventCreate(&raw mut read, sleep | plain) }.result()?;
        let mut pinned = Pinned { device: gpu.device().clone(), bytes: std::ptr::null_mut(), len: 0, read };
        let mut bytes: *mut c_void = std::ptr::null_mut();
        // SAFETY: the place for the address is ours
        unsafe { sys::cuMemHostAlloc(&raw mut bytes, len.max(1), 0) }.result()?;
        (pinned.bytes, pinned.len) = (bytes.cast(), len);
        // SAFETY: so many bytes stand there; they become numbers before anybody looks at them
        unsafe { std::ptr::write_bytes(pinned.bytes, 0, len) };
        Ok(pinned)
    }

    /// The bytes, once the GPU has read what was sent last.
    pub fn bytes(&mut self) -> Result<&mut [u8], CudaError> {
        self.device.bind_to_thread()?;
        // SAFETY: the event lives as long as this does
        unsafe { sys::cuEventSynchronize(self.read) }.result()?;
        // SAFETY: so many bytes are ours, and the GPU is through with them
        Ok(unsafe { std::slice::from_raw_parts_mut(self.bytes, self.len) })
    }

    /// Starts to copy the first `len` bytes into `to`; they must not be touched but through [`Pinned::bytes`].
    fn send(&mut self, gpu: &Gpu, len: usize, to: &mut Memory) -> Result<(), CudaError> {
        assert!(
            len <= self.len && len <= to.len() * to.kind().size(),
            "{len} bytes to and from places of their size"
        );
        gpu.bind()?;
        // SAFETY: both places are as large; this one outlives the copy, which its end and `bytes` wait for
        unsafe {
            sys::cuMemcpyHtoDAsync_v2(to.any_mut().pointer(), self.bytes.cast(), len, gpu.stream())
                .result()?;
            result::event::record(self.read, gpu.stream())?;
        }
        Ok(())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // what fails here has failed before, and been told
        let _ = self.device.bind_to_thread();
        // SAFETY: event and memory are this one's own (freeing nothing is refused, and does no harm); no copy reads on
        unsafe {
            let _ = sys::cuEventSynchronize(self.read).result();
            let _ = result::event::destroy(self.read);
            if !self.bytes.is_null() {
                let _ = sys::cuMemFreeHost(self.bytes.cast()).result();
            }
        }
    }
}

/// Two buffers in turn: one is filled while the GPU reads the other.
#[derive(Default)]
struct Pair {
    buffers: [Option<Pinned>; 2],
    turn: usize,
}

impl Pair {
    /// Sends so many bytes that `fill` writes.
    fn send(&mut self, gpu: &Gpu, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<Memory, CudaError> {
        let buffer = &mut self.buffers[self.turn];
        self.turn = 1 - self.turn;
        // a quarter more than is asked for: pictures are larger now and then
        let pinned = match buffer.take().filter(|pinned| pinned.len >= len) {
            Some(pinned) => pinned,
            None => Pinned::new(gpu, len + len / 4)?,
        };
        let pinned = buffer.insert(pinned);
        fill(&mut pinned.bytes()?[..len]);
        let mut memory = gpu.unwritten(Kind::F32, len.div_ceil(4))?;
        pinned.send(gpu, len, &mut memory)?;
        Ok(memory)
    }
}

/// The host's buffers of one who sends pictures.
#[derive(Default)]
pub struct Staging {
    pictures: Pair,
    /// Of what goes with the crops of each size: most have two sizes.
    records: [Pair; 2],
    turn: usize,
}

impl Staging {
    /// Sends pictures to the GPU. They are copied here and now; the GPU reads the copy when it comes to it. A picture without
    /// pixels becomes a black one.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn send(&mut self, gpu: &Gpu, pictures: &[Picture<'_>]) -> Result<Pictures, CudaError> {
        let mut len = 0;
        let place = |picture: &Picture<'_>| {
            let (height, width) = (picture.height.max(1), picture.width.max(1));
            let pitch = (3 * width).next_multiple_of(4);
            let place = Place { offset: len, pitch, height, width };
            len = (len + height * pitch).next_multiple_of(16);
            place
        };
        let places: Vec<Place> = pictures.iter().map(place).collect();
        let fill = |bytes: &mut [u8]| {
            for (picture, place) in pictures.iter().zip(&places) {
                lay_out(picture, place, &mut bytes[place.offset..][..place.height * place.pitch]);
            }
        };
        let memory = self.pictures.send(gpu, len, fill)?;
        Ok(Pictures { memory, places })
    }

    pub(super) fn send_records(&mut self, gpu: &Gpu, records: &[Record]) -> Result<Memory, CudaError> {
        self.turn = 1 - self.turn;
        let len = size_of_val(records);
        // SAFETY: records are numbers without gaps between them
        let plain = unsafe { std::slice::from_raw_parts(records.as_ptr().cast::<u8>(), len) };
        self.records[self.turn].send(gpu, len, |bytes| bytes.copy_from_slice(plain))
    }
}

/// Copies a picture's rows to where they begin on boundaries of 4 bytes.
fn lay_out(picture: &Picture<'_>, place: &Place, to: &mut [u8]) {
    let row = 3 * picture.width;
    if picture.height * row == 0 {
        to.fill(0);
        return;
    }
    assert_eq!(picture.pixels.len(), picture.height * row, "{} x {} pixels", picture.height, picture.width);
    if row == place.pitch {
        to.copy_from_slice(picture.pixels);
        return;
    }
    for (from, to) in picture.pixels.chunks_exact(row).zip(to.chunks_exact_mut(place.pitch)) {
        to[..row].copy_from_slice(from);
    }
}
