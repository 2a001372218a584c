use crate::kernels::probe::{differentiates, poison, values, weighted};
use crate::kernels::scalar;

fn check(rows: usize, dim: usize, relu: bool, residual: bool) {
    let (n, eps) = (rows * dim, 1e-2);
    let (x, dy, added) = (values("x", n), values("dy", n), values("added", n));
    let (gain, bias) = (values("gain", dim), values("bias", dim));
    let residual = residual.then_some(&added[..]);
    let (mut y, mut mean, mut variance, mut rstd) = (poison(n), poison(dim), poison(dim), poison(dim));
    scalar::batch_norm::forward(
        rows,
        dim,
        eps,
        relu,
        &x,
        &gain,
        &bias,
        residual,
        &mut y,
        &mut mean,
        &mut variance,
        &mut rstd,
    );
    twins!(
        5e-6,
        batch_norm::forward(rows, dim, eps, relu, &x, &gain, &bias, residual, y, m, v, r),
        y = poison(n),
        m = poison(dim),
        v = poison(dim),
        r = poison(dim)
    );
    twins!(
        2e-6,
        batch_norm::apply(rows, dim, eps, relu, &x, &gain, &bias, residual, &mean, &variance, y),
        y = poison(n)
    );
    let kept = relu.then_some(&y[..]);
    match residual {
        None => twins!(
            5e-6,
            batch_norm::backward(rows, dim, &dy, kept, &x, &gain, &mean, &rstd, dx, None, dgain, dbias),
            dx = values("dx", n),
            dgain = values("dgain", dim),
            dbias = values("dbias", dim)
        ),
        Some(_) => twins!(
            5e-6,
            batch_norm::backward(
                rows,
                dim,
                &dy,
                kept,
                &x,
                &gain,
                &mean,
                &rstd,
                dx,
                Some(&mut dr[..]),
                dgain,
                dbias
            ),
            dx = values("dx", n),
            dr = values("dr", n),
            dgain = values("dgain", dim),
            dbias = values("dbias", dim)
        ),
    }
}

#[test]
fn fast_batch_norm_agrees_with_its_twin() {
    for (rows, dim) in [(1, 5), (3, 64), (37, 7), (70, 2048), (500, 31)] {
        for (relu, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            check(rows, dim, relu, residual);
        }
    }
}

#[test]
fn scalar_batch_norm_differentiates() {
    let (x, dy, gain) = (values("x", 12), values("dy", 12), values("gain", 3));
    let added = values("added", 12);
    for relu in [false, true] {
        let run = |x: &[f32], gain: &[f32], added: &[f32]| {
            let (mut y, mut m, mut v, mut r) = (poison(12), poison(3), poison(3), poison(3));
            let (bias, added) = (&[0.1; 3], Some(added));
            scalar::batch_norm::forward(
                4, 3, 1e-5, relu, x, gain, bias, added, &mut y, &mut m, &mut v, &mut r,
            );
            (weighted(&dy, &y), m, r, y)
        };
        let (_, mean, rstd, y) = run(&x, &gain, &added);
        let (mut dx, mut dr, mut dgain, mut dbias) =
            (vec![0.0; 12], vec![0.0; 12], vec![0.0; 3], vec![0.0; 3]);
        let (kept, residual) = (relu.then_some(&y[..]), Some(&mut dr[..]));
        scalar::batch_norm::backward(
            4, 3, &dy, kept, &x, &gain, &mean, &rstd, &mut dx, residual, &mut dgain, &mut dbias,
        );
        differentiates("dx", &x, &dx, |x| run(x, &gain, &added).0);
        differentiates("dresidual", &added, &dr, |added| run(&x, &gain, added).0);
        differentiates("dgain", &gain, &dgain, |gain| run(&x, gain, &added).0);
    }
}
