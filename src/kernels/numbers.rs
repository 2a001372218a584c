//! Numbers in the precision they are stored in, and the precision of products.

use half::bf16;
use std::ops::Range;

/// In which precision the factors of matrix products are multiplied, and activations stored. Sums are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    #[default]
    F32,
    /// Factors are rounded to 16-bit brain floats, to nearest even.
    Bf16,
    /// The same with 16-bit IEEE floats. GPUs have them; processors compute with f32 in their place.
    F16,
}

/// Numbers to read.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// Numbers to write.
#[derive(Debug)]
pub enum NumbersMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
}

impl<'a> Numbers<'a> {
    pub fn len(self) -> usize {
        match self {
            Numbers::F32(x) => x.len(),
            Numbers::Bf16(x) => x.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// A stretch of them.
    pub fn slice(self, range: Range<usize>) -> Self {
        match self {
            Numbers::F32(x) => Numbers::F32(&x[range]),
            Numbers::Bf16(x) => Numbers::Bf16(&x[range]),
        }
    }
}

impl NumbersMut<'_> {
    pub fn len(&self) -> usize {
        match self {
            NumbersMut::F32(x) => x.len(),
            NumbersMut::Bf16(x) => x.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same numbers, to read.
    pub fn as_numbers(&self) -> Numbers<'_> {
        match self {
            NumbersMut::F32(x) => Numbers::F32(x),
            NumbersMut::Bf16(x) => Numbers::Bf16(x),
        }
    }

    /// The same numbers, lent on.
    pub fn lend(&mut self) -> NumbersMut<'_> {
        match self {
            NumbersMut::F32(x) => NumbersMut::F32(x),
            NumbersMut::Bf16(x) => NumbersMut::Bf16(x),
        }
    }
}

impl<'a> From<&'a [f32]> for Numbers<'a> {
    fn from(x: &'a [f32]) -> Self {
        Numbers::F32(x)
    }
}

impl<'a> From<&'a [bf16]> for Numbers<'a> {
    fn from(x: &'a [bf16]) -> Self {
        Numbers::Bf16(x)
    }
}

impl<'a> From<&'a mut [f32]> for NumbersMut<'a> {
    fn from(x: &'a mut [f32]) -> Self {
        NumbersMut::F32(x)
    }
}

impl<'a> From<&'a mut [bf16]> for NumbersMut<'a> {
    fn from(x: &'a mut [bf16]) -> Self {
        NumbersMut::Bf16(x)
    }
}
