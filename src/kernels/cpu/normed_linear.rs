//! The head's last layer: a linear layer whose weights are directions v of length 1 times magnitudes g (Salimans and Kingma
//! 2016). Its weights are made a stretch of prototypes at a time, while they are in the cache: with tens of thousands of
//! prototypes a whole copy of them, and another of their gradient, would be the largest buffers of a step.

use super::matrix::{Add, Matrix, Store, Within, product};
use super::normalize::{weight_norm_backward, weight_norm_forward};
use crate::kernels::Products;
use std::ops::Range;

/// Weights that are made at once: 2 MiB of them, for two threads' caches.
const AT_ONCE: usize = 1 << 19;

/// Stretches of `out` prototypes of `inp` numbers each.
fn stretches(inp: usize, out: usize) -> impl Iterator<Item = Range<usize>> {
    let each = (AT_ONCE / inp.max(1)).max(1);
    (0..out).step_by(each).map(move |first| first..out.min(first + each))
}

/// The weights of one stretch, in `w`.
fn weights<'w>(
    inp: usize,
    stretch: &Range<usize>,
    v: &[f32],
    g: Option<&[f32]>,
    w: &'w mut Vec<f32>,
    norms: &mut [f32],
) -> &'w [f32] {
    w.resize(stretch.len() * inp, 0.0);
    let (v, g) = (&v[stretch.start * inp..stretch.end * inp], g.map(|g| &g[stretch.clone()]));
    weight_norm_forward(stretch.len(), inp, v, g, w, norms);
    w
}

/// y (rows, out) = x wᵀ for w = g · v / ‖v‖; `norms` (out) keeps ‖v‖.
pub fn forward(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    x: &[f32],
    v: &[f32],
    g: Option<&[f32]>,
    y: &mut [f32],
    norms: &mut [f32],
) {
    assert_eq!(
        [x.len(), v.len(), y.len(), norms.len()],
        [rows * inp, out * inp, rows * out, out],
        "x, v, y, norms of a layer with weight norm"
    );
    let (store, mut room) = (Store::new(None, out, y.into()), Vec::new());
    for stretch in stretches(inp, out) {
        let w = weights(inp, &stretch, v, g, &mut room, &mut norms[stretch.clone()]);
        let (x, w) = (Matrix::rows(x, inp), Matrix::transposed(w, inp));
        let place = Within { row: 0, column: stretch.start, of: &store };
        product(products, (rows, stretch.len(), inp), x, w, &place);
    }
}

/// dx += dy w, and the gradients of v and g are added to dv and dg.
pub fn backward(
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: &[f32],
    x: &[f32],
    v: &[f32],
    g: Option<&[f32]>,
    norms: &[f32],
    dx: &mut [f32],
    dv: &mut [f32],
    mut dg: Option<&mut [f32]>,
) {
    assert_eq!(
        [dy.len(), x.len(), v.len(), norms.len(), dx.len(), dv.len()],
        [rows * out, rows * inp, out * inp, out, rows * inp, out * inp],
        "buffers of a layer with weight norm"
    );
    let (mut room, mut dw) = (Vec::new(), Vec::new());
    for stretch in stretches(inp, out) {
        let (count, span) = (stretch.len(), stretch.start * inp..stretch.end * inp);
        let w = weights(inp, &stretch, v, g, &mut room, &mut vec![0.0; count]);
        let (dx, dy_here) = (Add::new(inp, dx), &dy[stretch.start.min(dy.len())..]);
        product(products, (rows, inp, count), Matrix::rows(dy_here, out), Matrix::rows(w, inp), &dx);
        dw.resize(count * inp, 0.0);
        let store = Store::new(None, inp, (&mut dw[..]).into());
        let (dy_here, x) = (Matrix::transposed(dy_here, out), Matrix::rows(x, inp));
        product(products, (count, inp, rows), dy_here, x, &store);
        let (g, dg) = (g.map(|g| &g[stretch.clone()]), dg.as_mut().map(|dg| &mut dg[stretch.clone()]));
        let (v, norms, dv) = (&v[span.clone()], &norms[stretch], &mut dv[span]);
        weight_norm_backward(count, inp, &dw, v, g, norms, dv, dg);
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::Products;
    use crate::kernels::probe::{poison, values};

    fn check(p: Products, rows: usize, inp: usize, out: usize) {
        let (x, v, dy) = (values("x", rows * inp), values("v", out * inp), values("dy", rows * out));
        let (g, norms) = (values("g", out), {
            let mut norms = poison(out);
            let mut w = poison(out * inp);
            crate::kernels::scalar::normalize::weight_norm_forward(out, inp, &v, None, &mut w, &mut norms);
            norms
        });
        // a weight on either side of a tie is rounded a step of bf16 apart
        let far = if p == Products::Bf16 { 4e-3 } else { 1e-5 };
        for g in [None, Some(&g[..])] {
            twins!(
                far,
                normed_linear::forward(p, rows, inp, out, &x, &v, g, y, n),
                y = poison(rows * out),
                n = poison(out)
            );
            twins!(
                far,
                normed_linear::backward(p, rows, inp, out, &dy, &x, &v, g, &norms, dx, dv, Some(dg)),
                dx = values("dx", rows * inp),
                dv = values("dv", out * inp),
                dg = values("dg", out)
            );
        }
        twins!(
            far,
            normed_linear::backward(p, rows, inp, out, &dy, &x, &v, None, &norms, dx, dv, None),
            dx = values("dx", rows * inp),
            dv = values("dv", out * inp)
        );
    }

    #[test]
    fn the_fast_last_layer_agrees_with_its_twin() {
        for products in [Products::F32, Products::Bf16] {
            // the last has several stretches, and one that is cut short
            for (rows, inp, out) in [(1, 3, 5), (7, 8, 24), (80, 64, 300), (5, 1024, 1300)] {
                check(products, rows, inp, out);
            }
        }
    }
}
