//! Crops of whole pictures, made on the GPU: cut, resized, augmented and normalised with the CPU's own arithmetic
//! (`data/augment`), so that every level is the same.

mod landing;
mod pinned;
mod record;
mod staging;
#[cfg(test)]
mod tests;

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Argument, Given, Launch, Pointer, launch};
use super::scratch::Memory;
use super::view::{Kind, ViewMut};
use record::{Record, Room};

pub use pinned::Pinned;
#[cfg(test)]
use staging::Place;
pub use staging::{Picture, Pictures, Records, Staging};

/// The largest side of a crop: the blur holds a whole column of it in a block's shared memory.
pub const MAX_SIDE: usize = 2048;

/// Operations on colours that a crop may have, at most one of them a contrast.
pub const MAX_STEPS: usize = 5;

/// Bytes that cuts may take whose columns are resized already: with more, crops are made in several goes (as they are in tests).
const BETWEEN: usize = if cfg!(test) { 48 << 10 } else { 256 << 20 };

/// One operation on colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shade {
    /// Away from black by this factor.
    Brightness(f32),
    /// Away from the crop's mean grey by this factor.
    Contrast(f32),
    /// Away from each pixel's own grey by this factor.
    Saturation(f32),
    /// The hue turned by so many of 256 parts of the circle.
    Hue(u8),
    /// Each pixel's grey in place of it.
    Grey,
}

/// A box of fractional radius: 2 radius + 1 inner pixels and one at either end, weights with 24 bits behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoxBlur {
    pub radius: usize,
    pub inner: u32,
    pub end: u32,
}

/// What pixels are made of others by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    Bilinear,
    Bicubic,
}

/// One crop: all that was drawn for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Crop {
    /// Which of the pictures it is cut from.
    pub picture: usize,
    /// The part that is cut, in the picture's pixels; one that reaches over the border is moved and shrunk to lie inside.
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
    pub filter: Filter,
    pub flip: bool,
    /// In their order.
    pub shades: Vec<Shade>,
    /// Three such boxes in each direction.
    pub blur: Option<BoxBlur>,
    /// Levels from here up are inverted.
    pub solarize: Option<u8>,
}

/// What makes numbers of levels: (level / 255 - mean) / deviation, by channel.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Normal {
    pub mean: [f32; 3],
    pub deviation: [f32; 3],
}

// SAFETY: laid out as `CropsNormal` in crops.cu
unsafe impl Argument for Normal {
    fn place(&self) -> *mut std::ffi::c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

impl Given for Normal {
    type Taken = Normal;
    fn given(&self) -> Normal {
        *self
    }
}

/// Makes `crops` of `side` x `side` pixels, in their order: `out` is (crops, 3, side, side).
///
/// # Errors
/// Those of the driver.
///
/// # Panics
/// For an `out` of another size, a side above [`MAX_SIDE`], colours that are more than [`MAX_STEPS`] or have two contrasts, and a
/// picture that there isn't.
pub fn crops(
    gpu: &Gpu,
    sender: &mut Records,
    pictures: &Pictures,
    crops: &[Crop],
    side: usize,
    normal: Normal,
    mut out: ViewMut<'_>,
) -> Result<(), CudaError> {
    let each = 3 * side * side;
    assert_eq!(out.len(), crops.len() * each, "{} crops of {side} x {side} pixels", crops.len());
    assert!(side <= MAX_SIDE, "crops of {side} pixels a side, above {MAX_SIDE}");
    if side == 0 {
        return Ok(());
    }
    let mut records: Vec<Record> = crops.iter().map(|crop| Record::of(crop, pictures)).collect();
    let (mut rest, mut first) = (&mut records[..], 0);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fit = rest.iter().take_while(|record| {
            bytes += record.between(side);
            bytes <= BETWEEN
        });
        let (now, later) = rest.split_at_mut(fit.count().max(1));
        let part = out.slice(first * each..(first + now.len()) * each);
        first += now.len();
        some(gpu, sender, pictures, now, side, normal, part)?;
        rest = later;
    }
    Ok(())
}

/// Memory that crops of one size need on their way.
struct Tables {
    records: Memory,
    /// Where the rest stands.
    bounds: Pointer,
    precisions: Pointer,
    greys: Pointer,
    planes: Pointer,
    _room: Memory,
}

/// [`crops`] that fit into memory together.
fn some(
    gpu: &Gpu,
    sender: &mut Records,
    pictures: &Pictures,
    records: &mut [Record],
    side: usize,
    normal: Normal,
    out: ViewMut<'_>,
) -> Result<(), CudaError> {
    let (count, groups) = (records.len(), side.div_ceil(4));
    let pitch = 12 * groups;
    let blurred = records.iter().any(Record::is_blurred);
    let tables = tables(gpu, sender, pictures, records, side)?;
    let Tables { bounds, precisions, greys, planes, .. } = tables;
    let (side_, pitch_) = (side as i32, pitch as i32);
    launch!(gpu, "crops_tables", Launch::blocks(2 * count, 128); tables.records, bounds, precisions, greys, side_)?;
    let parts = side.div_ceil(8);
    launch!(gpu, "crops_down", Launch::blocks(count * parts, 256); tables.records, bounds, precisions, side_, parts as i32)?;
    let parts = (side * side).div_ceil(1024);
    launch!(gpu, "crops_across", Launch::blocks(count * parts, 256); tables.records, bounds, precisions, greys, planes, side_, pitch_,
        parts as i32)?;
    let rows = (256 / groups).clamp(1, side);
    let parts = side.div_ceil(rows);
    let colors = Launch::blocks(count * parts, 256).shared(2 * rows * pitch);
    launch!(gpu, "crops_colors", colors; tables.records, greys, planes, side_, pitch_, rows as i32, parts as i32, normal, out)?;
    if blurred {
        // strips whose two copies fit into the shared memory that every GPU has
        let wide = [4, 2].into_iter().find(|wide| 2 * side * 12 * wide <= 48 << 10).unwrap_or(1);
        let parts = groups.div_ceil(wide);
        let columns = Launch::blocks(count * parts, 256).shared(2 * side * 12 * wide);
        launch!(gpu, "crops_columns", columns; tables.records, planes, side_, pitch_, wide as i32, parts as i32, normal, out)?;
    }
    Ok(())
}

/// Takes memory for everything and sends the records, which name their places in it.
fn tables(
    gpu: &Gpu,
    sender: &mut Records,
    pictures: &Pictures,
    records: &mut [Record],
    side: usize,
) -> Result<Tables, CudaError> {
    let mut room = Room::default();
    let count = records.len();
    let bounds = room.take(2 * count * side * 8);
    let precisions = room.take(2 * count * 4);
    let greys = room.take(count * 8);
    let planes = room.take(count * side * side.div_ceil(4) * 12);
    records.iter_mut().for_each(|record| record.place(side, &mut room));
    let memory = gpu.unwritten(Kind::F32, room.bytes().div_ceil(4))?;
    let base = memory.any().pointer();
    let source = pictures.pointer()?;
    records.iter_mut().for_each(|record| record.settle(source, base));
    let records = sender.send(gpu, records)?;
    let [bounds, precisions, greys, planes] =
        [bounds, precisions, greys, planes].map(|offset| Pointer(base + offset));
    Ok(Tables { records, bounds, precisions, greys, planes, _room: memory })
}
