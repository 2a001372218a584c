use super::super::probe::{ALL, gpu, lent, near, poisoned, representable, stored, taken, tolerance};
use super::*;
use crate::kernels::Products;
use crate::kernels::probe::{poison, values};
use crate::kernels::scalar::layer_norm as scalar;

/// A layer norm of some rows of a matrix of `total`, whose mean is about `offset`; its matrices start `skew` numbers behind a boundary.
struct Case<'a> {
    rows: Rows<'a>,
    total: usize,
    dim: usize,
    offset: f32,
    skew: usize,
}

impl Case<'_> {
    /// Named numbers, in a place that starts where this case wants it.
    fn lent(&self, gpu: &Gpu, values: &[f32]) -> crate::kernels::cuda::Memory {
        lent(gpu, &[&vec![f32::NAN; self.skew], values].concat())
    }

    fn x(&self) -> Vec<f32> {
        values("x", self.total * self.dim).into_iter().map(|v| v + self.offset).collect()
    }

    fn tolerance(&self) -> f64 {
        3e-6 + 1e-6 * f64::from(self.offset)
    }

    fn what(&self, what: &str, products: Products) -> String {
        let Case { rows, dim, skew, .. } = self;
        format!("{what} of {rows:?} of {dim} for {products:?}, {skew} behind a boundary")
    }

    /// What both make of the same x; the twin's mean and rstd.
    fn forward(&self, gpu: &Gpu, products: Products) -> [Vec<f32>; 2] {
        let (count, dim, skew) = (self.rows.len(), self.dim, self.skew);
        let (x, gain, bias) = (self.x(), values("gain", dim), values("bias", dim));
        let (mut y, mut mean, mut rstd) = (poison(count * dim), poison(count), poison(count));
        scalar::forward(self.rows, dim, 1e-6, &x, &gain, &bias, (&mut y[..]).into(), &mut mean, &mut rstd);
        let from = self.lent(gpu, &x);
        let from = from.view().slice(skew..skew + x.len());
        let mut to = poisoned(gpu, products, count * dim);
        let [mut m, mut r] = [(); 2].map(|()| poisoned(gpu, Products::F32, count));
        let (gain, bias) = (lent(gpu, &gain), lent(gpu, &bias));
        let (gain, bias) = (gain.view(), bias.view());
        forward(gpu, self.rows, dim, 1e-6, from, gain, bias, to.any_mut(), m.view_mut(), r.view_mut())
            .unwrap();
        let far = self.tolerance();
        near(&self.what("y", products), tolerance(products, far), &taken(gpu, &to), &y);
        near(&self.what("mean", products), far, &taken(gpu, &m), &mean);
        near(&self.what("rstd", products), far, &taken(gpu, &r), &rstd);
        [mean, rstd]
    }

    fn backward(&self, gpu: &Gpu, products: Products, [mean, rstd]: &[Vec<f32>; 2]) {
        let (count, dim, skew) = (self.rows.len(), self.dim, self.skew);
        let (x, gain, dy) =
            (self.x(), values("gain", dim), representable(products, &values("dy", count * dim)));
        let n = x.len();
        let mut want = [values("dx", n), values("dgain", dim), values("dbias", dim)];
        let (mut dx, mut dgain, mut dbias) =
            (self.lent(gpu, &want[0]), lent(gpu, &want[1]), lent(gpu, &want[2]));
        let (dy_there, x_there, gain_there) =
            (stored(gpu, products, &dy), self.lent(gpu, &x), lent(gpu, &gain));
        let (mean_there, rstd_there) = (lent(gpu, mean), lent(gpu, rstd));
        backward(
            gpu,
            self.rows,
            dim,
            dy_there.any(),
            x_there.view().slice(skew..skew + n),
            gain_there.view(),
            mean_there.view(),
            rstd_there.view(),
            dx.view_mut().slice(skew..skew + n),
            dgain.view_mut(),
            dbias.view_mut(),
        )
        .unwrap();
        let [wx, wg, wb] = &mut want;
        let dy = dy[..].into();
        scalar::backward(self.rows, dim, dy, &x, &gain, mean, rstd, wx, wg, wb);
        let far = self.tolerance();
        near(&self.what("dx", products), far, &taken(gpu, &dx)[skew..], wx);
        near(&self.what("dgain", products), far, &taken(gpu, &dgain), wg);
        near(&self.what("dbias", products), far, &taken(gpu, &dbias), wb);
    }

    fn check(&self, gpu: &Gpu, products: Products) {
        let statistics = self.forward(gpu, products);
        self.backward(gpu, products, &statistics);
    }
}

#[test]
fn layer_norm_agrees_with_its_twin() {
    let Some(gpu) = gpu() else { return };
    for products in ALL {
        for (count, dim) in [(1, 5), (3, 64), (17, 128), (37, 384), (41, 70), (300, 33)] {
            for (offset, skew) in [(0.0, 0), (30.0, 0), (0.0, 1)] {
                // the mean far from 0 is where one pass over the squares would fail
                Case { rows: Rows::All(count), total: count, dim, offset, skew }.check(gpu, products);
            }
        }
        for (images, each, all, dim) in
            [(&[0, 2][..], 1, 3, 5), (&[], 7, 2, 64), (&[1, 2, 5], 7, 7, 384), (&[0, 3], 37, 4, 70)]
        {
            let rows = Rows::Of { images, each };
            Case { rows, total: all * each, dim, offset: 0.0, skew: 0 }.check(gpu, products);
        }
        let rows = Rows::Every { first: 1, apart: 3, count: 70 };
        Case { rows, total: 211, dim: 33, offset: 0.0, skew: 0 }.check(gpu, products);
    }
}

/// Every team, full and with room left.
#[test]
fn rows_of_any_length_are_held() {
    let Some(gpu) = gpu() else { return };
    for (i, dim) in [192, 256, 381, 768, 770, 1024, 1025, 1280, 1536, 2048, 3000, 4096, 5000, 8192]
        .into_iter()
        .enumerate()
    {
        let case = Case { rows: Rows::All(5), total: 5, dim, offset: 0.0, skew: 0 };
        case.check(gpu, ALL[i % 3]);
    }
}

/// More rows than blocks have warps: each goes through several.
#[test]
fn many_rows_are_summed_by_stretches() {
    let Some(gpu) = gpu() else { return };
    for (count, dim) in [(4 * PARTS + 7, 8), (9001, 3), (PARTS + 5, 1028)] {
        let case = Case { rows: Rows::All(count), total: count, dim, offset: 0.0, skew: 0 };
        let statistics = case.forward(gpu, Products::F32);
        case.backward(gpu, Products::F32, &statistics);
    }
}

#[test]
fn a_nan_shows() {
    let Some(gpu) = gpu() else { return };
    let mut x = values("x", 12);
    x[5] = f32::NAN;
    let mut y = gpu.zeros(Kind::F32, 12).unwrap();
    let (mut mean, mut rstd) = (gpu.zeros(Kind::F32, 3).unwrap(), gpu.zeros(Kind::F32, 3).unwrap());
    let (x, ones) = (lent(gpu, &x), lent(gpu, &[1.0; 4]));
    let (x, ones) = (x.view(), ones.view());
    forward(gpu, Rows::All(3), 4, 1e-6, x, ones, ones, y.any_mut(), mean.view_mut(), rstd.view_mut())
        .unwrap();
    let found: Vec<bool> = taken(gpu, &y).iter().map(|y| y.is_nan()).collect();
    assert_eq!(found, [[false; 4], [true; 4], [false; 4]].concat());
}
