//! Rows scaled to unit length (the head's bottleneck) and weight norm (its last layer).

use super::lanes::{dot, mul_add};
use super::split::{each_part, each_part2, rows_per_task};

/// y = x / max(‖x‖, eps) for each row. `norms` (rows) keeps the divisor for backward, negative where it was eps.
pub fn l2_forward(rows: usize, dim: usize, eps: f32, x: &[f32], y: &mut [f32], norms: &mut [f32]) {
    assert_eq!(
        [x.len(), y.len(), norms.len()],
        [rows * dim, rows * dim, rows],
        "x, y, norms of a normalisation"
    );
    let part = rows_per_task(dim);
    each_part2((part * dim, y), (part, norms), |i, y, norms| {
        l2_rows(eps, &x[i * part * dim..][..y.len()], y, norms);
    });
}

/// dx += the gradient of `l2_forward`.
pub fn l2_backward(rows: usize, dim: usize, dy: &[f32], y: &[f32], norms: &[f32], dx: &mut [f32]) {
    assert_eq!([dy.len(), y.len(), dx.len()], [rows * dim; 3], "dy, y, dx of a normalisation");
    assert_eq!(norms.len(), rows, "norms of a normalisation");
    let part = rows_per_task(dim);
    each_part((part * dim).max(1), dx, |i, dx| {
        let span = i * part * dim..i * part * dim + dx.len();
        l2_backward_rows(&dy[span.clone()], &y[span], &norms[i * part..][..dx.len() / dim], dx);
    });
}

/// w = g · v / ‖v‖ for each row (Salimans and Kingma 2016), g = 1 when it is not given; `norms` (rows) keeps ‖v‖.
pub fn weight_norm_forward(
    rows: usize,
    dim: usize,
    v: &[f32],
    g: Option<&[f32]>,
    w: &mut [f32],
    norms: &mut [f32],
) {
    assert_eq!(
        [v.len(), w.len(), norms.len()],
        [rows * dim, rows * dim, rows],
        "v, w, norms of a weight norm"
    );
    assert!(g.is_none_or(|g| g.len() == rows), "a weight norm has one magnitude for each of {rows} rows");
    let part = rows_per_task(dim);
    each_part2((part * dim, w), (part, norms), |i, w, norms| {
        let g = g.map(|g| &g[i * part..][..norms.len()]);
        weight_norm_rows(&v[i * part * dim..][..w.len()], g, w, norms);
    });
}

/// dv and dg are added to.
pub fn weight_norm_backward(
    rows: usize,
    dim: usize,
    dw: &[f32],
    v: &[f32],
    g: Option<&[f32]>,
    norms: &[f32],
    dv: &mut [f32],
    dg: Option<&mut [f32]>,
) {
    assert_eq!([dw.len(), v.len(), dv.len()], [rows * dim; 3], "dw, v, dv of a weight norm");
    assert_eq!(norms.len(), rows, "norms of a weight norm");
    let part = rows_per_task(dim);
    let work = |i: usize, dv: &mut [f32], dg: Option<&mut [f32]>| {
        let (span, count) = (i * part * dim..i * part * dim + dv.len(), dv.len() / dim);
        let g = g.map(|g| &g[i * part..][..count]);
        weight_norm_backward_rows(&dw[span.clone()], &v[span], g, &norms[i * part..][..count], dv, dg);
    };
    match dg {
        Some(dg) => {
            assert_eq!(dg.len(), rows, "a weight norm has one magnitude for each row");
            each_part2((part * dim, dv), (part, dg), |i, dv, dg| work(i, dv, Some(dg)));
        }
        None => each_part((part * dim).max(1), dv, |i, dv| work(i, dv, None)),
    }
}

/// Unit rows for a plain copy: y = x / max(‖x‖, eps) without anything kept, in place.
pub fn l2_in_place(rows: usize, dim: usize, eps: f32, x: &mut [f32]) {
    assert_eq!(x.len(), rows * dim, "x of a normalisation");
    let part = rows_per_task(dim);
    each_part((part * dim).max(1), x, |_, x| l2_rows_in_place(dim, eps, x));
}

vectorised! {
    fn l2_rows<I>(eps: f32, x: &[f32], y: &mut [f32], norms: &mut [f32]) {
        let dim = y.len() / norms.len();
        for ((x, y), norm) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)).zip(norms) {
            let length = dot::<I>(x, x).sqrt();
            let clamped = length < eps;
            let divisor = if clamped { eps } else { length };
            *norm = if clamped { -eps } else { length };
            let inverse = 1.0 / divisor;
            for (y, x) in y.iter_mut().zip(x) {
                *y = x * inverse;
            }
        }
    }

    fn l2_rows_in_place<I>(dim: usize, eps: f32, x: &mut [f32]) {
        for x in x.chunks_exact_mut(dim) {
            let length = dot::<I>(x, x).sqrt();
            let inverse = 1.0 / if length < eps { eps } else { length };
            for x in x.iter_mut() {
                *x *= inverse;
            }
        }
    }

    fn l2_backward_rows<I>(dy: &[f32], y: &[f32], norms: &[f32], dx: &mut [f32]) {
        let dim = dx.len() / norms.len();
        let rows = dy.chunks_exact(dim).zip(y.chunks_exact(dim)).zip(dx.chunks_exact_mut(dim));
        for (((dy, y), dx), norm) in rows.zip(norms) {
            // a constant divisor has no gradient of its own
            let along = if *norm < 0.0 { 0.0 } else { dot::<I>(dy, y) };
            let inverse = 1.0 / norm.abs();
            for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = mul_add::<I>(mul_add::<I>(-along, *y, *dy), inverse, *dx);
            }
        }
    }

    fn weight_norm_rows<I>(v: &[f32], g: Option<&[f32]>, w: &mut [f32], norms: &mut [f32]) {
        let dim = w.len() / norms.len();
        for (r, ((v, w), norm)) in v.chunks_exact(dim).zip(w.chunks_exact_mut(dim)).zip(norms).enumerate() {
            *norm = dot::<I>(v, v).sqrt();
            let scale = g.map_or(1.0, |g| g[r]) / *norm;
            for (w, v) in w.iter_mut().zip(v) {
                *w = scale * v;
            }
        }
    }

    fn weight_norm_backward_rows<I>(
        dw: &[f32], v: &[f32], g: Option<&[f32]>, norms: &[f32], dv: &mut [f32], dg: Option<&mut [f32]>,
    ) {
        let dim = dv.len() / norms.len();
        let mut dg = dg;
        let rows = dw.chunks_exact(dim).zip(v.chunks_exact(dim)).zip(dv.chunks_exact_mut(dim));
        for (r, (((dw, v), dv), norm)) in rows.zip(norms).enumerate() {
            let along = dot::<I>(dw, v) / norm;
            if let Some(dg) = dg.as_deref_mut() {
                dg[r] += along;
            }
            let (scale, along) = (g.map_or(1.0, |g| g[r]) / norm, along / norm);
            for ((dv, dw), v) in dv.iter_mut().zip(dw).zip(v) {
                *dv = mul_add::<I>(mul_add::<I>(-along, *v, *dw), scale, *dv);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::probe::{differentiates, poison, values, weighted};
    use crate::kernels::scalar::normalize as scalar;

    fn check(rows: usize, dim: usize) {
        let (mut x, dy, g) = (values("x", rows * dim), values("dy", rows * dim), values("g", rows));
        // a row of zeros meets the clamp
        if rows > 1 {
            x[..dim].fill(0.0);
        }
        let (mut y, mut norms) = (poison(rows * dim), poison(rows));
        scalar::l2_forward(rows, dim, 1e-2, &x, &mut y, &mut norms);
        let (y0, n0) = (poison(rows * dim), poison(rows));
        twins!(1e-6, normalize::l2_forward(rows, dim, 1e-2, &x, y, n), y = y0.clone(), n = n0.clone());
        twins!(1e-6, normalize::l2_in_place(rows, dim, 1e-2, y), y = x.clone());
        twins!(2e-6, normalize::l2_backward(rows, dim, &dy, &y, &norms, dx), dx = values("dx", rows * dim));
        let v = values("v", rows * dim);
        let norms: Vec<f32> = v.chunks(dim).map(|v| weighted(v, v).sqrt() as f32).collect();
        let (dv, dg) = (values("dv", rows * dim), values("dg", rows));
        for g in [None, Some(&g[..])] {
            twins!(
                1e-6,
                normalize::weight_norm_forward(rows, dim, &v, g, w, n),
                w = y0.clone(),
                n = n0.clone()
            );
            twins!(
                3e-6,
                normalize::weight_norm_backward(rows, dim, &dy, &v, g, &norms, dv, Some(dg)),
                dv = dv.clone(),
                dg = dg.clone()
            );
            twins!(
                3e-6,
                normalize::weight_norm_backward(rows, dim, &dy, &v, g, &norms, dv, None),
                dv = dv.clone()
            );
        }
    }

    #[test]
    fn fast_normalisation_agrees_with_its_twin() {
        for (rows, dim) in [(1, 5), (3, 64), (37, 256), (700, 31)] {
            check(rows, dim);
        }
    }

    #[test]
    fn scalar_normalisation_differentiates() {
        let (x, dy, g) = (values("x", 10), values("dy", 10), values("g", 2));
        let unit = |x: &[f32]| {
            let (mut y, mut norms) = (poison(10), poison(2));
            scalar::l2_forward(2, 5, 1e-12, x, &mut y, &mut norms);
            (weighted(&dy, &y), y, norms)
        };
        let (_, y, norms) = unit(&x);
        let mut dx = vec![0.0; 10];
        scalar::l2_backward(2, 5, &dy, &y, &norms, &mut dx);
        differentiates("dx", &x, &dx, |x| unit(x).0);
        let weight = |v: &[f32], g: &[f32]| {
            let (mut w, mut norms) = (poison(10), poison(2));
            scalar::weight_norm_forward(2, 5, v, Some(g), &mut w, &mut norms);
            weighted(&dy, &w)
        };
        let (mut dv, mut dg) = (vec![0.0; 10], vec![0.0; 2]);
        scalar::weight_norm_backward(2, 5, &dy, &x, Some(&g), &norms, &mut dv, Some(&mut dg));
        differentiates("dv", &x, &dv, |v| weight(v, &g));
        differentiates("dg", &g, &dg, |g| weight(&x, g));
    }
}
