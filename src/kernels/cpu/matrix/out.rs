//! Outputs that several tasks write pieces of, and what is read beside them: sixteen numbers at a time.

use crate::kernels::cpu::vectors::{Vectors, WIDTH};
use crate::kernels::{Numbers, NumbersMut};
use half::bf16;
use std::marker::PhantomData;

/// A row-major matrix whose pieces are written by several tasks, each piece by one.
#[derive(Clone, Copy)]
pub struct Out<'a> {
    place: Place,
    len: usize,
    width: usize,
    lent: PhantomData<&'a mut [f32]>,
}

#[derive(Clone, Copy)]
enum Place {
    F32(*mut f32),
    Bf16(*mut bf16),
}

// SAFETY: whoever writes vouches that no two tasks touch the same numbers
unsafe impl Send for Out<'_> {}
// SAFETY: as above
unsafe impl Sync for Out<'_> {}

impl<'a> Out<'a> {
    pub fn new(width: usize, out: NumbersMut<'a>) -> Self {
        let len = out.len();
        let place = match out {
            NumbersMut::F32(x) => Place::F32(x.as_mut_ptr()),
            NumbersMut::Bf16(x) => Place::Bf16(x.as_mut_ptr()),
        };
        Out { place, len, width, lent: PhantomData }
    }

    /// Whether what is written is rounded to bf16.
    #[inline(always)]
    pub fn is_half(&self) -> bool {
        matches!(self.place, Place::Bf16(_))
    }

    /// Panics unless a piece lies within.
    pub fn assert_holds(&self, first: usize, left: usize, (h, w): (usize, usize)) {
        let inside = h == 0 || left + w <= self.width && (first + h) * self.width <= self.len;
        assert!(
            inside,
            "rows {first}..+{h}, columns {left}..+{w} of an output {} wide, {} long",
            self.width, self.len
        );
    }

    /// Sends for a piece's memory, to be written.
    pub fn ahead(&self, first: usize, left: usize, size: (usize, usize)) {
        let at = first * self.width + left;
        // bf16 is half as much, and was not seen to gain
        if let Place::F32(out) = self.place {
            send_for(out.wrapping_add(at), self.width, size);
        }
    }

    /// Sends for a piece's memory, to be read first.
    pub fn ahead_to_read(&self, first: usize, left: usize, size: (usize, usize)) {
        let at = first * self.width + left;
        match self.place {
            Place::F32(x) => send_for(x.wrapping_add(at), self.width, size),
            Place::Bf16(x) => send_for(x.wrapping_add(at), self.width, size),
        }
    }

    /// Writes the first `count` of sixteen numbers.
    ///
    /// # Safety
    /// The piece must lie within, and be this task's.
    #[inline(always)]
    pub unsafe fn put<I: Vectors>(&self, row: usize, col: usize, count: usize, v: I::V) {
        let at = row * self.width + col;
        match self.place {
            Place::F32(out) if count == WIDTH => {
                // SAFETY: the caller vouches for the place
                I::store(v, unsafe { &mut *out.add(at).cast() });
            }
            Place::Bf16(out) if count == WIDTH => {
                // SAFETY: as above
                I::narrow(v, unsafe { &mut *out.add(at).cast() });
            }
            Place::F32(out) => {
                let mut lanes = [0.0; WIDTH];
                I::store(v, &mut lanes);
                // SAFETY: as above
                unsafe { std::slice::from_raw_parts_mut(out.add(at), count) }
                    .copy_from_slice(&lanes[..count]);
            }
            Place::Bf16(out) => {
                let mut lanes = [bf16::ZERO; WIDTH];
                I::narrow(v, &mut lanes);
                // SAFETY: as above
                unsafe { std::slice::from_raw_parts_mut(out.add(at), count) }
                    .copy_from_slice(&lanes[..count]);
            }
        }
    }

    /// Up to sixteen numbers of an output in f32, and zeros.
    ///
    /// # Safety
    /// As for `put`.
    #[inline(always)]
    pub unsafe fn get<I: Vectors>(&self, row: usize, col: usize, count: usize) -> I::V {
        let at = row * self.width + col;
        match self.place {
            // SAFETY: the caller vouches for the place
            Place::F32(out) => load::<I>(unsafe { std::slice::from_raw_parts(out.add(at), count) }),
            // SAFETY: as above
            Place::Bf16(out) => widen::<I>(unsafe { std::slice::from_raw_parts(out.add(at), count) }),
        }
    }
}

/// Sends for the memory of rows of w numbers, `width` apart.
pub fn send_for<T>(x: *const T, width: usize, (h, w): (usize, usize)) {
    for r in 0..h {
        let row = x.wrapping_add(r * width).cast::<i8>();
        let bytes = w * size_of::<T>();
        for at in (0..bytes).step_by(64).chain([bytes - 1]) {
            // SAFETY: a prefetch reads nothing, wherever it points
            #[cfg(target_arch = "x86_64")]
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(row.wrapping_add(at));
            }
        }
    }
}

/// Up to sixteen numbers, and zeros.
#[inline(always)]
pub fn load<I: Vectors>(x: &[f32]) -> I::V {
    match x.try_into() {
        Ok(x) => I::load(x),
        Err(_) => {
            let mut lanes = [0.0; WIDTH];
            lanes[..x.len()].copy_from_slice(x);
            I::load(&lanes)
        }
    }
}

#[inline(always)]
fn widen<I: Vectors>(x: &[bf16]) -> I::V {
    match x.try_into() {
        Ok(x) => I::widen(x),
        Err(_) => {
            let mut lanes = [bf16::ZERO; WIDTH];
            lanes[..x.len()].copy_from_slice(x);
            I::widen(&lanes)
        }
    }
}

/// A row-major matrix that is read beside the sums.
#[derive(Clone, Copy)]
pub struct In<'a> {
    pub data: Numbers<'a>,
    pub width: usize,
}

impl In<'_> {
    /// Up to sixteen numbers in f32, and zeros.
    #[inline(always)]
    pub fn get<I: Vectors>(&self, row: usize, col: usize, count: usize) -> I::V {
        let at = row * self.width + col;
        match self.data {
            Numbers::F32(x) => load::<I>(&x[at..at + count]),
            Numbers::Bf16(x) => widen::<I>(&x[at..at + count]),
        }
    }

    pub fn ahead_to_read(&self, first: usize, left: usize, size: (usize, usize)) {
        let at = first * self.width + left;
        match self.data {
            Numbers::F32(x) => send_for(x.as_ptr().wrapping_add(at), self.width, size),
            Numbers::Bf16(x) => send_for(x.as_ptr().wrapping_add(at), self.width, size),
        }
    }
}
