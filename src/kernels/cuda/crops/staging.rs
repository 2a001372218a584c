//! Pictures on their way to the GPU: through memory of the host's that it reads by itself ([`super::pinned`]), to places that stay
//! ([`super::landing`]), while the host goes on and kernels work on the pictures before.

use dfdx::prelude::CudaError;

use super::landing::{Landed, Landings};
use super::pinned::Pair;
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

/// Pictures in the GPU's memory, whose place is others' once this is let go.
pub struct Pictures {
    landed: Landed,
    places: Vec<Place>,
}

impl Pictures {
    pub fn place(&self, index: usize) -> Place {
        assert!(index < self.places.len(), "picture {index} of {}", self.places.len());
        self.places[index]
    }

    /// Where they are, for kernels that are started from now on: these wait until all have come.
    pub fn pointer(&self) -> Result<u64, CudaError> {
        self.landed.pointer()
    }
}

/// The buffers of one who sends pictures, the host's and the GPU's.
#[derive(Default)]
pub struct Staging {
    pictures: Pair,
    landings: Landings,
}

impl Staging {
    /// Sends pictures to the GPU. They are copied here and now; the GPU fetches the copy beside its kernels. A picture without pixels
    /// becomes a black one.
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
        let pinned = self.pictures.filled(gpu, len, fill)?;
        Ok(Pictures { landed: self.landings.send(gpu, pinned, len)?, places })
    }
}

/// The host's buffers of one who has crops made.
#[derive(Default)]
pub struct Records {
    /// Of what goes with the crops of each size: most have two sizes.
    pairs: [Pair; 2],
    turn: usize,
}

impl Records {
    /// Sends what crops were drawn, in the order of kernels: it is little.
    pub(super) fn send(&mut self, gpu: &Gpu, records: &[Record]) -> Result<Memory, CudaError> {
        self.turn = 1 - self.turn;
        let len = size_of_val(records);
        // SAFETY: records are numbers without gaps between them
        let plain = unsafe { std::slice::from_raw_parts(records.as_ptr().cast::<u8>(), len) };
        let pinned = self.pairs[self.turn].filled(gpu, len, |bytes| bytes.copy_from_slice(plain))?;
        let mut memory = gpu.unwritten(Kind::F32, len.div_ceil(4))?;
        pinned.send(gpu, gpu.stream(), len, &mut memory)?;
        Ok(memory)
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
