//! The head's last layer: a linear layer whose weights are directions v of length 1 times magnitudes g. Its weights are made for
//! the moment, in the precision of the products.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::matrix::{Factor, Plus, Target, product, rounded};
use super::scratch::Memory;
use super::view::{Kind, View, ViewMut};
use crate::kernels::Products;

/// y (rows, out) = x wᵀ for w = g · v / ‖v‖; `norms` (out) keeps ‖v‖.
pub fn forward(
    gpu: &Gpu,
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    x: View<'_>,
    v: View<'_>,
    g: Option<View<'_>>,
    y: ViewMut<'_>,
    norms: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!(
        [x.len(), v.len(), y.len(), norms.len()],
        [rows * inp, out * inp, rows * out, out],
        "x, v, y, norms of a layer with weight norm"
    );
    assert_eq!(g.map_or(out, View::len), out, "magnitudes of a layer with weight norm");
    let kernel = match products {
        Products::F32 => "normed_linear_weights_f32",
        Products::Bf16 => "normed_linear_weights_bf16",
        Products::F16 => "normed_linear_weights_f16",
    };
    let w = gpu.unwritten(Kind::of(products), out * inp)?;
    launch!(gpu, kernel, Launch::warps(out, 256); out as i32, inp as i32, v, g, w, norms)?;
    let (x, w) = (Factor::rows(x, inp), Factor::transposed(w.any(), inp));
    product(gpu, products, (rows, out, inp), x, w, Target::new(y, out))
}

/// dx += dy w, and the gradients of v and g are added to dv and dg.
pub fn backward(
    gpu: &Gpu,
    products: Products,
    rows: usize,
    inp: usize,
    out: usize,
    dy: View<'_>,
    x: View<'_>,
    v: View<'_>,
    g: Option<View<'_>>,
    norms: View<'_>,
    dx: ViewMut<'_>,
    dv: ViewMut<'_>,
    dg: Option<ViewMut<'_>>,
) -> Result<(), CudaError> {
    assert_eq!(
        [dy.len(), x.len(), v.len(), norms.len(), dx.len(), dv.len()],
        [rows * out, rows * inp, out * inp, out, rows * inp, out * inp],
        "buffers of a layer with weight norm"
    );
    let magnitudes = [g.map_or(out, View::len), dg.as_ref().map_or(out, ViewMut::len)];
    assert_eq!(magnitudes, [out; 2], "magnitudes of a layer with weight norm");
    // a factor of two products, rounded once
    let kind = Kind::of(products);
    let room = rounded(gpu, kind, dy.into())?;
    let dy = room.as_ref().map_or(dy.into(), Memory::any);
    let kernel = match products {
        Products::F32 => "normed_linear_again_f32",
        Products::Bf16 => "normed_linear_again_bf16",
        Products::F16 => "normed_linear_again_f16",
    };
    let w = gpu.unwritten(kind, out * inp)?;
    launch!(gpu, kernel, Launch::warps(out, 256); out as i32, inp as i32, v, g, norms, w)?;
    let target = Target::new(dx, inp).plus(Plus::Itself);
    product(gpu, products, (rows, inp, out), Factor::rows(dy, out), Factor::rows(w.any(), inp), target)?;
    drop(w);
    let mut dw = gpu.unwritten(Kind::F32, out * inp)?;
    let (dy, x) = (Factor::transposed(dy, out), Factor::rows(x, inp));
    product(gpu, products, (out, inp, rows), dy, x, Target::new(dw.view_mut(), inp))?;
    let warps = Launch::warps(out, 256);
    launch!(gpu, "normed_linear_gradients", warps; out as i32, inp as i32, dw, v, g, norms, dv, dg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cuda::probe::{self, ALL, lent, near, poisoned, taken, tolerance};
    use crate::kernels::probe::{poison, values};
    use crate::kernels::scalar::normed_linear as slow;

    fn check(gpu: &Gpu, p: Products, rows: usize, inp: usize, out: usize) {
        let [x, v, dy, g] = [("x", rows * inp), ("v", out * inp), ("dy", rows * out), ("g", out)]
            .map(|(name, n)| values(name, n));
        let [gx, gv, gdy, gg] = [&x, &v, &dy, &g].map(|values| lent(gpu, values));
        // a weight on either side of a tie is rounded a step apart, so far as any of a sum counts
        let far = tolerance(p, 1e-5);
        let what = |name: &str| format!("{name} of {p:?} {rows} x {inp} x {out}");
        for with in [false, true] {
            let (g, lent_g) = (with.then_some(&g[..]), with.then(|| gg.view()));
            let (mut y, mut norms) =
                (poisoned(gpu, Products::F32, rows * out), poisoned(gpu, Products::F32, out));
            let outputs = (y.view_mut(), norms.view_mut());
            forward(gpu, p, rows, inp, out, gx.view(), gv.view(), lent_g, outputs.0, outputs.1).unwrap();
            let (mut y_want, mut norms_want) = (poison(rows * out), poison(out));
            slow::forward(p, rows, inp, out, &x, &v, g, &mut y_want, &mut norms_want);
            near(&what("y"), far, &taken(gpu, &y), &y_want);
            near(&what("norms"), 1e-7, &taken(gpu, &norms), &norms_want);

            let [mut dx_want, mut dv_want, mut dg_want] =
                [("dx", rows * inp), ("dv", out * inp), ("dg", out)].map(|(name, n)| values(name, n));
            let [mut dx, mut dv, mut dg] = [&dx_want, &dv_want, &dg_want].map(|values| lent(gpu, values));
            let (to_x, to_v, to_g) = (dx.view_mut(), dv.view_mut(), with.then(|| dg.view_mut()));
            let given = (gdy.view(), gx.view(), gv.view(), norms.view());
            backward(gpu, p, rows, inp, out, given.0, given.1, given.2, lent_g, given.3, to_x, to_v, to_g)
                .unwrap();
            let to_g = with.then_some(&mut dg_want[..]);
            slow::backward(p, rows, inp, out, &dy, &x, &v, g, &norms_want, &mut dx_want, &mut dv_want, to_g);
            near(&what("dx"), far, &taken(gpu, &dx), &dx_want);
            near(&what("dv"), far, &taken(gpu, &dv), &dv_want);
            near(&what("dg"), far, &taken(gpu, &dg), &dg_want);
        }
    }

    #[test]
    fn the_last_layer_agrees_with_its_twin() {
        let Some(gpu) = probe::gpu() else { return };
        for p in ALL {
            for (rows, inp, out) in
                [(1, 3, 5), (7, 8, 24), (40, 64, 301), (5, 260, 33), (3, 77, 40), (0, 4, 8)]
            {
                check(gpu, p, rows, inp, out);
            }
        }
    }

    #[test]
    fn a_direction_of_no_length_is_not_hidden() {
        let Some(gpu) = probe::gpu() else { return };
        let (x, v) = (lent(gpu, &[1.0; 4]), lent(gpu, &[0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 4.0, 0.0]));
        let (mut y, mut norms) = (lent(gpu, &[0.0; 2]), lent(gpu, &[9.0; 2]));
        forward(gpu, Products::F32, 1, 4, 2, x.view(), v.view(), None, y.view_mut(), norms.view_mut())
            .unwrap();
        let (y, norms) = (taken(gpu, &y), taken(gpu, &norms));
        assert!(y[0].is_nan() && (y[1] - 1.4).abs() < 1e-6 && norms == [0.0, 5.0]);
    }
}
