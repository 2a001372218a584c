//! Stochastic depth (Huang et al. 2016): a residual branch works on the images that it keeps, and on no others.

use dfdx::prelude::Storage;

use crate::kernels::{Kernels, Products, Rows};
use crate::tensor::{Buffer, Float};

/// The images that one branch keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Survivors {
    /// Their places in the group, ascending.
    pub images: Vec<usize>,
    /// What the branch's output is multiplied by, 1 / the probability of staying.
    pub scale: f32,
}

/// The rows that a branch works on, of so many images of `each` rows; all where nothing is dropped.
pub(super) fn rows(survivors: Option<&Survivors>, images: usize, each: usize) -> Rows<'_> {
    survivors.map_or(Rows::All(images * each), |s| Rows::Of { images: &s.images, each })
}

/// What a branch's output is multiplied by.
pub(super) fn scale(survivors: Option<&Survivors>) -> f32 {
    survivors.map_or(1.0, |s| s.scale)
}

/// The gradient of a branch's output: that of its rows, scaled as they were, in the precision of the products that it goes
/// into; or nothing where `dy` itself will do. `db`, of the bias that the branch ends with, += the sum of its rows.
pub(super) fn branch_gradient<D: Kernels>(
    device: &D,
    products: Products,
    survivors: Option<&Survivors>,
    each: usize,
    width: usize,
    dy: &Buffer<D>,
    db: &mut Buffer<D>,
) -> Result<Option<D::Activations>, D::Err> {
    let rows = rows(survivors, Storage::<Float>::len(device, dy) / width / each, each);
    let (dy, db) = (D::buffer(dy), D::buffer_mut(db));
    if survivors.is_none() && (products == Products::F32 || !D::STORES_FACTORS) {
        device.linear_backward_bias(rows.len(), width, dy.into(), db)?;
        return Ok(None);
    }
    let mut branch = device.activations(products, rows.len() * width)?;
    device.gather_rows(rows, width, scale(survivors), dy, D::kept_mut(&mut branch), db)?;
    Ok(Some(branch))
}
