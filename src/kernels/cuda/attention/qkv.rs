//! The linear layer from tokens to their queries, keys and values. Where only an image's first tokens ask, keys and values
//! are made of all tokens, and queries of one token of all images at a time.

use std::ops::Range;

use dfdx::prelude::CudaError;

use super::super::gpu::Gpu;
use super::super::matrix::{Factor, Plus, Target, product, rounded};
use super::super::scratch::Memory;
use super::super::view::{Any, AnyMut, Kind, View, ViewMut};
use super::{Dims, Products};

/// Lengths of a token and of what is made of it, and how many tokens there are.
fn widths(d: Dims) -> (usize, usize, usize) {
    let width = d.heads * d.head_dim;
    (width, 3 * width, d.batch * d.tokens)
}

/// Panics unless x, w and qkv have their lengths.
fn check(d: Dims, x: usize, w: usize, qkv: usize) {
    let (width, all, rows) = widths(d);
    assert!(
        (1..=d.tokens).contains(&d.queries) && width > 0,
        "some of {} tokens ask, not {}",
        d.tokens,
        d.queries
    );
    assert_eq!(
        [x, w, qkv],
        [rows * width, width * all, rows * all],
        "tokens, weights, and what is made of them"
    );
}

/// From one place on; nothing where there are no images.
fn from(x: Any<'_>, place: usize) -> Any<'_> {
    x.slice(place.min(x.len())..x.len())
}

/// The same of numbers to write.
fn from_mut<'a>(x: &'a mut AnyMut<'_>, place: usize) -> AnyMut<'a> {
    let rest = from(x.as_any(), place);
    // SAFETY: a stretch of what is borrowed mutably for as long
    unsafe { AnyMut::new(rest.kind(), rest.pointer(), rest.len()) }
}

/// A factor in the precision of the products, rounded once for all products that it is in.
struct Rounded<'a> {
    given: Any<'a>,
    room: Option<Memory>,
}

impl<'a> Rounded<'a> {
    fn new(gpu: &Gpu, products: Products, given: impl Into<Any<'a>>) -> Result<Self, CudaError> {
        let given = given.into();
        Ok(Rounded { given, room: rounded(gpu, Kind::of(products), given)? })
    }

    fn any(&self) -> Any<'_> {
        self.room.as_ref().map_or(self.given, Memory::any)
    }
}

/// qkv = x wᵀ + bias; the queries of tokens that do not ask are left as they are.
///
/// # Errors
/// When the library or the driver refuses.
pub fn qkv_forward(
    gpu: &Gpu,
    products: Products,
    d: Dims,
    x: Any<'_>,
    w: View<'_>,
    bias: View<'_>,
    mut qkv: AnyMut<'_>,
) -> Result<(), CudaError> {
    check(d, x.len(), w.len(), qkv.len());
    let (width, all, rows) = widths(d);
    assert_eq!(bias.len(), all, "a bias for each column of qkv");
    if d.queries == d.tokens {
        let (x, w) = (Factor::rows(x, width), Factor::transposed(w, width));
        return product(gpu, products, (rows, all, width), x, w, Target::new(qkv, all).biased(Some(bias)));
    }
    let (x, w) = (Rounded::new(gpu, products, x)?, Rounded::new(gpu, products, w)?);
    let mut make = |tokens: usize, from_token: usize, apart: usize, columns: Range<usize>| {
        let (first, count) = (columns.start, columns.len());
        let x = Factor::rows(from(x.any(), from_token * width), apart * width);
        let weights = Factor::transposed(w.any().slice(first * width..columns.end * width), width);
        let to = from_mut(&mut qkv, from_token * all + first);
        let target = Target::new(to, apart * all).biased(Some(bias.slice(columns)));
        product(gpu, products, (tokens, count, width), x, weights, target)
    };
    make(rows, 0, 1, width..all)?;
    (0..d.queries).try_for_each(|token| make(d.batch, token, d.tokens, 0..width))
}

/// dw += dqkvᵀ x, without the queries of tokens that did not ask.
///
/// # Errors
/// When the library or the driver refuses.
pub fn qkv_backward_weight(
    gpu: &Gpu,
    products: Products,
    d: Dims,
    dqkv: Any<'_>,
    x: Any<'_>,
    mut dw: ViewMut<'_>,
) -> Result<(), CudaError> {
    check(d, x.len(), dw.len(), dqkv.len());
    let (width, all, rows) = widths(d);
    let (dqkv, x) = (Rounded::new(gpu, products, dqkv)?, Rounded::new(gpu, products, x)?);
    let mut add = |tokens: usize, from_token: usize, apart: usize, columns: Range<usize>| {
        let dy = Factor::transposed(from(dqkv.any(), from_token * all + columns.start), apart * all);
        let x = Factor::rows(from(x.any(), from_token * width), apart * width);
        let to = dw.slice(columns.start * width..columns.end * width);
        let target = Target::new(to, width).plus(Plus::Itself);
        product(gpu, products, (columns.len(), width, tokens), dy, x, target)
    };
    if d.batch == 0 {
        return Ok(());
    }
    if d.queries == d.tokens {
        return add(rows, 0, 1, 0..all);
    }
    add(rows, 0, 1, width..all)?;
    (0..d.queries).try_for_each(|token| add(d.batch, token, d.tokens, 0..width))
}

/// dx = dqkv w, without the queries of tokens that did not ask.
///
/// # Errors
/// When the library or the driver refuses.
pub fn qkv_backward_input(
    gpu: &Gpu,
    products: Products,
    d: Dims,
    dqkv: Any<'_>,
    w: View<'_>,
    mut dx: AnyMut<'_>,
) -> Result<(), CudaError> {
    check(d, dx.len(), w.len(), dqkv.len());
    let (width, all, rows) = widths(d);
    if d.queries == d.tokens {
        let (dqkv, w) = (Factor::rows(dqkv, all), Factor::rows(w, width));
        return product(gpu, products, (rows, width, all), dqkv, w, Target::new(dx, width));
    }
    let (dqkv, w) = (Rounded::new(gpu, products, dqkv)?, Rounded::new(gpu, products, w)?);
    let mut make = |tokens: usize, from_token: usize, apart: usize, first: usize| {
        let dy = Factor::rows(from(dqkv.any(), from_token * all + first), apart * all);
        let weights = Factor::rows(from(w.any(), first * width), width);
        let target = Target::new(from_mut(&mut dx, from_token * width), apart * width);
        product(gpu, products, (tokens, width, all - first), dy, weights, target)
    };
    make(rows, 0, 1, width)?;
    // those that asked once more, in whole: adding to what is already rounded would round twice
    (0..d.queries).try_for_each(|token| make(d.batch, token, d.tokens, 0))
}
