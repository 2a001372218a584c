use super::super::probe::{gpu, lent, near, poisoned, taken};
use super::*;
use crate::kernels::Products;
use crate::kernels::probe::{poison, values};
use crate::kernels::scalar::batch_norm as scalar;

const EPS: f32 = 1e-2;

/// A batch norm of x, whose mean is about `offset`; its matrices start `skew` numbers behind a boundary.
#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    dim: usize,
    relu: bool,
    residual: bool,
    offset: f32,
    skew: usize,
}

impl Case {
    fn lent(&self, gpu: &Gpu, values: &[f32]) -> Memory {
        lent(gpu, &[&vec![f32::NAN; self.skew], values].concat())
    }

    /// Where a matrix's numbers stand.
    fn span(&self) -> std::ops::Range<usize> {
        self.skew..self.skew + self.rows * self.dim
    }

    fn x(&self) -> Vec<f32> {
        values("x", self.rows * self.dim).into_iter().map(|v| v + self.offset).collect()
    }

    fn tolerance(&self) -> f64 {
        5e-6 + 1e-6 * f64::from(self.offset)
    }

    /// The twin's y, mean, variance, rstd, which ours are near.
    fn forward(&self, gpu: &Gpu) -> [Vec<f32>; 4] {
        let &Case { rows, dim, relu, .. } = self;
        let (x, gain, bias) = (self.x(), values("gain", dim), values("bias", dim));
        let residual = self.residual.then(|| values("residual", x.len()));
        let mut want = [poison(x.len()), poison(dim), poison(dim), poison(dim)];
        let [y, m, v, r] = &mut want;
        scalar::forward(rows, dim, EPS, relu, &x, &gain, &bias, residual.as_deref(), y, m, v, r);
        let (x, gain, bias) = (self.lent(gpu, &x), lent(gpu, &gain), lent(gpu, &bias));
        let (x, gain, bias) = (x.view().slice(self.span()), gain.view(), bias.view());
        let residual = residual.map(|residual| self.lent(gpu, &residual));
        let residual = residual.as_ref().map(|residual| residual.view().slice(self.span()));
        let mut found = [rows * dim, dim, dim, dim].map(|n| poisoned(gpu, Products::F32, n));
        let [y, m, v, r] = found.each_mut().map(Memory::view_mut);
        forward(gpu, rows, dim, EPS, relu, x, gain, bias, residual, y, m, v, r).unwrap();
        for (what, (found, want)) in ["y", "mean", "variance", "rstd"].iter().zip(found.iter().zip(&want)) {
            near(&format!("{what} of {self:?}"), self.tolerance(), &taken(gpu, found), want);
        }
        want
    }

    fn apply(&self, gpu: &Gpu, [_, mean, variance, _]: &[Vec<f32>; 4]) {
        let &Case { rows, dim, relu, .. } = self;
        let (x, gain, bias) = (self.x(), values("gain", dim), values("bias", dim));
        let residual = self.residual.then(|| values("residual", x.len()));
        let mut want = poison(x.len());
        let added = residual.as_deref();
        scalar::apply(rows, dim, EPS, relu, &x, &gain, &bias, added, mean, variance, &mut want);
        let (x, gain, bias) = (self.lent(gpu, &x), lent(gpu, &gain), lent(gpu, &bias));
        let (x, gain, bias) = (x.view().slice(self.span()), gain.view(), bias.view());
        let residual = residual.map(|residual| self.lent(gpu, &residual));
        let residual = residual.as_ref().map(|residual| residual.view().slice(self.span()));
        let (mean, variance) = (lent(gpu, mean), lent(gpu, variance));
        let (mean, variance) = (mean.view(), variance.view());
        let mut y = poisoned(gpu, Products::F32, rows * dim);
        apply(gpu, rows, dim, EPS, relu, x, gain, bias, residual, mean, variance, y.view_mut()).unwrap();
        near(&format!("y by given statistics of {self:?}"), self.tolerance(), &taken(gpu, &y), &want);
    }

    fn backward(&self, gpu: &Gpu, [y, mean, _, rstd]: &[Vec<f32>; 4]) {
        let &Case { rows, dim, relu, .. } = self;
        let (x, gain, dy) = (self.x(), values("gain", dim), values("dy", rows * dim));
        let y = relu.then_some(&y[..]);
        let mut want =
            [values("dx", x.len()), values("dr", x.len()), values("dgain", dim), values("dbias", dim)];
        let [dx, dr, dgain, dbias] = &want;
        let mut found = [self.lent(gpu, dx), self.lent(gpu, dr), lent(gpu, dgain), lent(gpu, dbias)];
        let [dx, dr, dgain, dbias] = &mut want;
        let dr = self.residual.then_some(&mut dr[..]);
        scalar::backward(rows, dim, &dy, y, &x, &gain, mean, rstd, dx, dr, dgain, dbias);
        let y = y.map(|y| self.lent(gpu, y));
        let y = y.as_ref().map(|y| y.view().slice(self.span()));
        let (dy, x) = (self.lent(gpu, &dy), self.lent(gpu, &x));
        let (dy, x) = (dy.view().slice(self.span()), x.view().slice(self.span()));
        let (gain, mean, rstd) = (lent(gpu, &gain), lent(gpu, mean), lent(gpu, rstd));
        let (gain, mean, rstd) = (gain.view(), mean.view(), rstd.view());
        let [mut dx, mut dr, dgain, dbias] = found.each_mut().map(Memory::view_mut);
        let dr = self.residual.then(|| dr.slice(self.span()));
        let dx = dx.slice(self.span());
        backward(gpu, rows, dim, dy, y, x, gain, mean, rstd, dx, dr, dgain, dbias).unwrap();
        for (i, what) in ["dx", "dresidual", "dgain", "dbias"].iter().enumerate() {
            let skip = if i < 2 { self.skew } else { 0 };
            let found = &taken(gpu, &found[i])[skip..];
            near(&format!("{what} of {self:?}"), self.tolerance(), found, &want[i]);
        }
    }

    fn check(&self, gpu: &Gpu) {
        let made = self.forward(gpu);
        self.apply(gpu, &made);
        self.backward(gpu, &made);
    }
}

#[test]
fn batch_norm_agrees_with_its_twin() {
    let Some(gpu) = gpu() else { return };
    for (rows, dim) in [(1, 5), (3, 64), (37, 7), (70, 516), (500, 31), (300, 65)] {
        for (relu, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            for (offset, skew) in [(0.0, 0), (0.0, 1)] {
                Case { rows, dim, relu, residual, offset, skew }.check(gpu);
            }
        }
        // the mean far from 0 is where one pass over the squares would fail
        Case { rows, dim, relu: false, residual: false, offset: 30.0, skew: 0 }.check(gpu);
    }
}

/// Rows enough for parts of several chunks, the last of them short.
#[test]
fn many_rows_are_joined_by_parts() {
    let Some(gpu) = gpu() else { return };
    for (rows, dim) in [(2 * 1056 * 128 + 77, 1), (3333, 4096 + 3)] {
        Case { rows, dim, relu: false, residual: false, offset: 3.0, skew: 0 }.check(gpu);
    }
}

/// One number far from the others at the head of a column takes nothing from the sums of those that follow.
#[test]
fn a_far_number_does_not_swallow_the_others() {
    let Some(gpu) = gpu() else { return };
    let case = Case { rows: 700, dim: 4, relu: false, residual: false, offset: 0.0, skew: 0 };
    let mut x = case.x();
    x[..4].fill(1e4);
    let mut want = [poison(2800), poison(4), poison(4), poison(4)];
    let ones = [1.0; 4];
    let [y, m, v, r] = &mut want;
    scalar::forward(700, 4, EPS, false, &x, &ones, &ones, None, y, m, v, r);
    let (x, ones) = (lent(gpu, &x), lent(gpu, &ones));
    let mut found = [2800, 4, 4, 4].map(|n| poisoned(gpu, Products::F32, n));
    let [y, m, v, r] = found.each_mut().map(Memory::view_mut);
    let (x, ones) = (x.view(), ones.view());
    forward(gpu, 700, 4, EPS, false, x, ones, ones, None, y, m, v, r).unwrap();
    for (found, want) in found.iter().zip(&want) {
        near("a column with a far number", 2e-6, &taken(gpu, found), want);
    }
}
