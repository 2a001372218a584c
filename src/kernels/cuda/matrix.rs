//! Products of matrices, by NVIDIA's library (cublasLt).
//!
//! Matrices are row-major here and column-major there: what we call c = a b, the library knows as cᵀ = bᵀ aᵀ, on the same memory.

use std::sync::Arc;

use dfdx::prelude::CudaError;

use super::convert::convert;
use super::gpu::Gpu;
use super::kept;
use super::scratch::Memory;
use super::view::{Any, AnyMut, Kind, View};
use crate::kernels::Products;

mod library;
mod plain;
#[cfg(test)]
mod tests;

pub use library::Library;
use library::{Key, Pointers};
use plain::plain;

/// A matrix that is multiplied.
#[derive(Clone, Copy, Debug)]
pub struct Factor<'a> {
    pub data: Any<'a>,
    /// Numbers from one row, as it is stored, to the next.
    pub width: usize,
    /// Whether it is stored as its transpose.
    pub transposed: bool,
    /// Weights, where it is some: what is made of them for a product is kept.
    weights: Option<View<'a>>,
}

impl<'a> Factor<'a> {
    /// Rows as they are stored, `width` numbers apart.
    pub fn rows(data: impl Into<Any<'a>>, width: usize) -> Self {
        Factor { data: data.into(), width, transposed: false, weights: None }
    }

    /// The transpose of what is stored.
    pub fn transposed(data: impl Into<Any<'a>>, width: usize) -> Self {
        Factor { data: data.into(), width, transposed: true, weights: None }
    }

    /// The same in another precision, where there is one.
    fn with(self, room: Option<&'a Memory>) -> Self {
        Factor { data: room.map_or(self.data, Memory::any), weights: None, ..self }
    }

    /// Rows of weights.
    pub fn weights(w: View<'a>, width: usize) -> Self {
        Factor { weights: Some(w), ..Factor::rows(w, width) }
    }

    /// The transpose of weights as they are stored.
    pub fn weights_transposed(w: View<'a>, width: usize) -> Self {
        Factor { weights: Some(w), ..Factor::transposed(w, width) }
    }
}

/// Where a product goes, and what is added to it.
#[derive(Debug)]
pub struct Target<'a, 'b> {
    pub out: AnyMut<'a>,
    /// Numbers from one row to the next.
    pub width: usize,
    /// Times the product of the factors.
    pub scale: f32,
    /// A number for each column, added to every row.
    pub bias: Option<View<'b>>,
    /// What is added: what stands there, or other numbers of the same shape.
    pub plus: Plus<'b>,
    /// Whether f32 factors are never rounded, also where TF32 is allowed.
    pub exact: bool,
}

/// What is added to a product.
#[derive(Clone, Copy, Debug)]
pub enum Plus<'a> {
    Nothing,
    /// What the target holds.
    Itself,
    /// f32 numbers with rows as wide as the target's.
    Other(View<'a>),
}

impl<'a, 'b> Target<'a, 'b> {
    /// Overwrites the numbers there.
    pub fn new(out: impl Into<AnyMut<'a>>, width: usize) -> Self {
        Target { out: out.into(), width, scale: 1.0, bias: None, plus: Plus::Nothing, exact: false }
    }

    pub fn biased(self, bias: Option<View<'b>>) -> Self {
        Target { bias, ..self }
    }

    pub fn scaled(self, scale: f32) -> Self {
        Target { scale, ..self }
    }

    pub fn plus(self, plus: Plus<'b>) -> Self {
        Target { plus, ..self }
    }

    pub fn exact(self) -> Self {
        Target { exact: true, ..self }
    }
}

/// (rows, depth) times (depth, cols), into (rows, cols).
///
/// # Errors
/// When the library or the driver refuses.
///
/// # Panics
/// When a matrix is smaller than the shape says.
pub fn product(
    gpu: &Gpu,
    products: Products,
    (rows, cols, depth): (usize, usize, usize),
    a: Factor<'_>,
    b: Factor<'_>,
    target: Target<'_, '_>,
) -> Result<(), CudaError> {
    assert_within("a", a, rows, depth);
    assert_within("b", b, depth, cols);
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let fits = cols <= target.width && (rows - 1) * target.width + cols <= target.out.len();
    assert!(fits, "room for a product");
    let kind = Kind::of(products);
    let (a_room, b_room) = (factor(gpu, kind, a)?, factor(gpu, kind, b)?);
    let (a, b) = (a.with(a_room.as_deref()), b.with(b_room.as_deref()));
    if [Kind::F32, kind].contains(&target.out.kind()) {
        return multiply(gpu, (rows, cols, depth), a, b, target);
    }
    // the library writes f32 or what the factors are: anything else goes through f32
    let Target { mut out, width, scale, bias, plus, exact } = target;
    assert!(
        matches!(plus, Plus::Nothing) && width == cols,
        "a whole matrix in another precision than its factors'"
    );
    let mut wide = gpu.unwritten(Kind::F32, rows * cols)?;
    let to = Target { exact, ..Target::new(wide.any_mut(), cols).scaled(scale).biased(bias) };
    multiply(gpu, (rows, cols, depth), a, b, to)?;
    convert(gpu, wide.any(), out.lend())
}

fn assert_within(name: &str, factor: Factor<'_>, rows: usize, cols: usize) {
    let (rows, cols) = if factor.transposed { (cols, rows) } else { (rows, cols) };
    let fits = rows == 0
        || cols == 0
        || cols <= factor.width && (rows - 1) * factor.width + cols <= factor.data.len();
    assert!(
        fits,
        "{rows} rows of {cols} numbers, {} apart, in {name} of {}",
        factor.width,
        factor.data.len()
    );
}

/// A factor in the precision of the product, unless it is in it already.
fn factor(gpu: &Gpu, kind: Kind, x: Factor<'_>) -> Result<Option<Arc<Memory>>, CudaError> {
    match x.weights {
        Some(weights) => kept::rounded(gpu, kind, weights),
        None => Ok(rounded(gpu, kind, x.data)?.map(Arc::new)),
    }
}

/// A bias as the library takes it: in the target's precision, on a boundary of 16 bytes, for it reads some at a time and is not told
/// where they stand when it makes its plan.
fn bias_for(gpu: &Gpu, kind: Kind, bias: View<'_>) -> Result<Option<Arc<Memory>>, CudaError> {
    if kind == Kind::F32 && !bias.pointer().is_multiple_of(16) {
        let mut room = gpu.unwritten(kind, bias.len())?;
        convert(gpu, bias.into(), room.any_mut())?;
        return Ok(Some(Arc::new(room)));
    }
    kept::rounded(gpu, kind, bias)
}

/// Numbers in another precision, unless they are in it already.
pub fn rounded(gpu: &Gpu, kind: Kind, x: Any<'_>) -> Result<Option<Memory>, CudaError> {
    if x.kind() == kind {
        return Ok(None);
    }
    let mut room = gpu.unwritten(kind, x.len())?;
    convert(gpu, x, room.any_mut())?;
    Ok(Some(room))
}

/// The product of factors of one kind, into f32 or that kind.
fn multiply(
    gpu: &Gpu,
    (rows, cols, depth): (usize, usize, usize),
    a: Factor<'_>,
    b: Factor<'_>,
    target: Target<'_, '_>,
) -> Result<(), CudaError> {
    if let Plus::Other(other) = target.plus {
        let fits = target.out.kind() == Kind::F32 && (rows - 1) * target.width + cols <= other.len();
        assert!(fits, "f32 numbers, one for each of a product, are added to f32");
    }
    // the library has no word for an empty sum
    if depth == 0 {
        return plain(gpu, (rows, cols, depth), a, b, target);
    }
    let plus = match target.plus {
        Plus::Other(other) => other.pointer(),
        Plus::Nothing | Plus::Itself => target.out.pointer(),
    };
    // the library takes a bias in the target's precision
    let bias_room = target.bias.map(|bias| bias_for(gpu, target.out.kind(), bias)).transpose()?.flatten();
    let bias = bias_room.as_ref().map_or(target.bias.map_or(0, View::pointer), |room| room.any().pointer());
    let factors = [b.data.pointer(), a.data.pointer(), plus, target.out.pointer()];
    let key = Key {
        shape: [cols, rows, depth],
        widths: [b.width, a.width, target.width],
        transposed: [b.transposed, a.transposed],
        kinds: [b.data.kind(), a.data.kind(), target.out.kind()],
        bias: target.bias.is_some(),
        tf32: gpu.tf32() && !target.exact,
        alignment: factors.map(|pointer| 1 << pointer.trailing_zeros().min(8)),
    };
    gpu.bind()?;
    let scales = (target.scale, if matches!(target.plus, Plus::Nothing) { 0.0 } else { 1.0 });
    let pointers = Pointers { bias, factors };
    let name = match b.data.kind() {
        Kind::F32 => "a product of f32",
        Kind::Bf16 => "a product of bf16",
        Kind::F16 => "a product of f16",
    };
    let start = || gpu.with_library(|library| library.multiply(gpu.stream(), &key, pointers, scales));
    match gpu.between_marks(name, start)? {
        true => Ok(()),
        false => plain(gpu, (rows, cols, depth), a, b, target),
    }
}
