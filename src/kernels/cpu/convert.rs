//! Numbers of either precision as f32 for a kernel's inner loop, a cached part at a time.

use super::lines::Lines;
use super::split::each_part;
use crate::kernels::{Numbers, NumbersMut};
use half::bf16;
use std::ops::Range;

/// A place for numbers that are widened or not yet rounded: memory that the thread keeps.
#[derive(Default)]
pub struct Widened(Option<Lines>);

impl Widened {
    fn of(&mut self, len: usize) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.0.insert(Lines::take(len)).lanes())
    }
}

/// These numbers as f32: as they lie, or widened into `room`.
pub fn read<'a>(x: Numbers<'a>, range: Range<usize>, room: &'a mut Widened) -> &'a [f32] {
    match x {
        Numbers::F32(x) => &x[range],
        Numbers::Bf16(x) => {
            let room = room.of(range.len());
            widen(&x[range], room);
            room
        }
    }
}

/// Lets `work` write these numbers as f32, and rounds them where they are stored in less. What `work` finds is not theirs.
pub fn write(y: NumbersMut<'_>, work: impl FnOnce(&mut [f32])) {
    match y {
        NumbersMut::F32(y) => work(y),
        NumbersMut::Bf16(y) => {
            let mut room = Widened::default();
            let room = room.of(y.len());
            work(room);
            narrow(room, y);
        }
    }
}

/// Calls `work(part, numbers)` for each `chunk` of the numbers, in parallel when there is more than one.
pub fn each_chunk(chunk: usize, y: NumbersMut<'_>, work: impl Fn(usize, NumbersMut<'_>) + Sync + Send) {
    match y {
        NumbersMut::F32(y) => each_part(chunk, y, |i, y| work(i, y.into())),
        NumbersMut::Bf16(y) => each_part(chunk, y, |i, y| work(i, y.into())),
    }
}

vectorised! {
    /// bf16 to f32, exactly.
    pub fn widen<I>(x: &[bf16], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = wide(*x);
        }
    }

    /// f32 to the nearest bf16, ties to even; NaN stays NaN.
    pub fn narrow<I>(x: &[f32], y: &mut [bf16]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = nearest(*x);
        }
    }
}

/// The same number in f32.
#[inline(always)]
pub fn wide(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// The nearest bf16, ties to even.
#[inline(always)]
pub fn nearest(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    // the sum would carry a NaN's mantissa into its sign
    let quiet = (bits >> 16) | 0x40;
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    bf16::from_bits(if nan { quiet } else { rounded } as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cpu::{Isa, force};
    use crate::kernels::probe::values;

    #[test]
    fn numbers_are_rounded_to_the_nearest_even() {
        let mut x = values("x", 1000);
        x.extend([0.0, -0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40]);
        // halfway between two neighbours, below an even and above one
        x.extend([0x3f80_8000, 0x3f81_8000, 0x3f80_7fff, 0x3f80_8001].map(f32::from_bits));
        for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
            force(isa);
            let (mut y, mut back) = (vec![bf16::NAN; x.len()], vec![f32::NAN; x.len()]);
            narrow(&x, &mut y);
            widen(&y, &mut back);
            for ((x, y), back) in x.iter().zip(&y).zip(&back) {
                assert_eq!(y.to_bits(), bf16::from_f32(*x).to_bits(), "{x}");
                assert_eq!(back.to_bits(), y.to_f32().to_bits(), "{x}");
            }
            for bits in [0x7fff_ffff_u32, 0xffff_ffff, 0x7f80_0001] {
                narrow(&[f32::from_bits(bits)], &mut y[..1]);
                assert!(y[0].is_nan(), "{bits:x}");
            }
        }
    }
}
