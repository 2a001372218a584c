//! Position embeddings for a grid of another size, by bicubic interpolation as the published models use it.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::tokens;
use super::view::{View, ViewMut};

/// pos (1 + grid_h · grid_w, dim) to out (1 + to_h · to_w, dim); the first row, the CLS token's, is copied.
pub fn interpolate(
    gpu: &Gpu,
    grid_h: usize,
    grid_w: usize,
    to_h: usize,
    to_w: usize,
    dim: usize,
    pos: View<'_>,
    out: ViewMut<'_>,
) -> Result<(), CudaError> {
    check(grid_h, grid_w, to_h, to_w, dim, pos.len(), out.len());
    if (grid_h, grid_w) == (to_h, to_w) {
        return tokens::copy_to(gpu, 0, pos, out);
    }
    let launch = Launch::blocks(1 + to_h * to_w, 128);
    launch!(gpu, "position_interpolate", launch; grid_h as i32, grid_w as i32, to_h as i32, to_w as i32, dim as i32, pos, out)
}

/// dpos += the gradient of [`interpolate`] under dout: each row of dpos gathers what it counted in.
pub fn interpolate_backward(
    gpu: &Gpu,
    grid_h: usize,
    grid_w: usize,
    to_h: usize,
    to_w: usize,
    dim: usize,
    dout: View<'_>,
    dpos: ViewMut<'_>,
) -> Result<(), CudaError> {
    check(grid_h, grid_w, to_h, to_w, dim, dpos.len(), dout.len());
    if (grid_h, grid_w) == (to_h, to_w) {
        return tokens::add_from(gpu, 0, dout, dpos);
    }
    let launch = Launch::blocks(1 + grid_h * grid_w, 128).shared(4 * (to_h + to_w));
    launch!(gpu, "position_interpolate_backward", launch; grid_h as i32, grid_w as i32, to_h as i32, to_w as i32, dim as i32,
        dout, dpos)
}

fn check(grid_h: usize, grid_w: usize, to_h: usize, to_w: usize, dim: usize, pos: usize, out: usize) {
    assert!(grid_h * grid_w > 0, "a grid of position embeddings has at least one cell");
    assert_eq!(pos, (1 + grid_h * grid_w) * dim, "source position embeddings");
    assert_eq!(out, (1 + to_h * to_w) * dim, "interpolated position embeddings");
}

#[cfg(test)]
mod tests {
    use super::super::probe::{gpu, lent, near, poisoned, taken};
    use super::*;
    use crate::kernels::Products;
    use crate::kernels::probe::{poison, values};
    use crate::kernels::scalar::position as scalar;

    fn check(gpu: &Gpu, (grid_h, grid_w): (usize, usize), (to_h, to_w): (usize, usize), dim: usize) {
        let (pos, dout) =
            (values("pos", (1 + grid_h * grid_w) * dim), values("dout", (1 + to_h * to_w) * dim));
        let what = format!("{grid_h} x {grid_w} to {to_h} x {to_w} of {dim}");
        let mut want = poison(dout.len());
        scalar::interpolate(grid_h, grid_w, to_h, to_w, dim, &pos, &mut want);
        let mut out = poisoned(gpu, Products::F32, dout.len());
        interpolate(gpu, grid_h, grid_w, to_h, to_w, dim, lent(gpu, &pos).view(), out.view_mut()).unwrap();
        near(&what, 2e-6, &taken(gpu, &out), &want);
        let mut want = values("dpos", pos.len());
        let mut dpos = lent(gpu, &want);
        scalar::interpolate_backward(grid_h, grid_w, to_h, to_w, dim, &dout, &mut want);
        let dout = lent(gpu, &dout);
        interpolate_backward(gpu, grid_h, grid_w, to_h, to_w, dim, dout.view(), dpos.view_mut()).unwrap();
        near(&format!("the gradient of {what}"), 2e-6, &taken(gpu, &dpos), &want);
    }

    #[test]
    fn interpolation_agrees_with_its_twin() {
        let Some(gpu) = gpu() else { return };
        for (grid, to) in [
            ((1, 1), (1, 1)),
            ((1, 1), (3, 2)),
            ((4, 4), (2, 2)),
            ((7, 7), (3, 5)),
            ((5, 6), (5, 6)),
            ((3, 4), (9, 7)),
        ] {
            [8, 37, 520].into_iter().for_each(|dim| check(gpu, grid, to, dim));
        }
    }
}
