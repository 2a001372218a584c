//! Layer norm (Ba, Kiros, Hinton 2016) over rows of `dim` values.

use super::convert::{Widened, read, write};
use super::lanes::{mul_add, squares_around, sum, weighted_sums};
use super::split::{SUM_ROWS, each_part2, each_part3, rows_per_task};
use crate::kernels::{Numbers, NumbersMut, Rows};
use std::ops::Range;

/// y = (x - mean) · rstd · gain + bias of those rows of x that are named; `mean` and `rstd` (rows) are kept for backward.
pub fn forward(
    rows: Rows<'_>,
    dim: usize,
    eps: f32,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    y: NumbersMut<'_>,
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    let count = rows.len();
    rows.assert_within(dim, x.len());
    assert_eq!([y.len(), mean.len(), rstd.len()], [count * dim, count, count], "layer norm");
    assert_eq!([gain.len(), bias.len()], [dim; 2], "gain and bias of a layer norm");
    let part = rows_per_task(dim);
    let some = |i: usize, y: NumbersMut<'_>, mean: &mut [f32], rstd: &mut [f32]| {
        let first = i * part;
        write(y, |y| {
            for (run, at) in rows.runs(first..first + mean.len()) {
                let (x, here) = (&x[span(at, run.len(), dim)], run.start - first..run.end - first);
                let y = &mut y[span(here.start, here.len(), dim)];
                forward_rows(eps, x, gain, bias, y, &mut mean[here.clone()], &mut rstd[here]);
            }
        });
    };
    let (mean, rstd) = ((part, mean), (part, rstd));
    match y {
        NumbersMut::F32(y) => each_part3((part * dim, y), mean, rstd, |i, y, m, r| some(i, y.into(), m, r)),
        NumbersMut::Bf16(y) => each_part3((part * dim, y), mean, rstd, |i, y, m, r| some(i, y.into(), m, r)),
    }
}

/// The numbers of `count` rows from one on.
fn span(first: usize, count: usize, dim: usize) -> Range<usize> {
    first * dim..(first + count) * dim
}

/// dx, dgain and dbias are added to. x and dx hold the rows that are named among others; dy, mean and rstd hold them alone.
pub fn backward(
    rows: Rows<'_>,
    dim: usize,
    dy: Numbers<'_>,
    x: &[f32],
    gain: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
    dbias: &mut [f32],
) {
    rows.assert_within(dim, x.len());
    let count = rows.len();
    assert_eq!(dx.len(), x.len(), "x and dx of a layer norm");
    assert_eq!(
        [dy.len(), mean.len(), rstd.len()],
        [count * dim, count, count],
        "dy and statistics of a layer norm"
    );
    assert_eq!([gain.len(), dgain.len(), dbias.len()], [dim; 3], "gain and its gradients in a layer norm");
    // a partial sum of dgain and dbias for each group of rows that stand together, added up in order
    let groups: Vec<(Range<usize>, usize)> = rows.runs(0..count).flat_map(in_groups).collect();
    let mut partial = vec![0.0; groups.len() * 2 * dim];
    let mut dx = pieces(dx, dim, &groups);
    each_part2((1, &mut dx), (2 * dim, &mut partial), |i, dx, partial| {
        let (rows, at) = groups[i].clone();
        let (there, mut room) = (span(at, rows.len(), dim), Widened::default());
        let dy = read(dy, span(rows.start, rows.len(), dim), &mut room);
        let (dgain, dbias) = partial.split_at_mut(dim);
        backward_rows(dy, &x[there], gain, &mean[rows.clone()], &rstd[rows], dx[0], dgain, dbias);
    });
    for partial in partial.chunks_exact((2 * dim).max(1)) {
        add(dgain, &partial[..dim]);
        add(dbias, &partial[dim..]);
    }
}

fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// A stretch of rows and its place, in groups.
fn in_groups((run, at): (Range<usize>, usize)) -> impl Iterator<Item = (Range<usize>, usize)> {
    let Range { start, end } = run;
    (start..end).step_by(SUM_ROWS).map(move |row| (row..end.min(row + SUM_ROWS), at + row - start))
}

/// The places of groups of rows in a matrix, each to be written by itself.
fn pieces<'a>(x: &'a mut [f32], dim: usize, groups: &[(Range<usize>, usize)]) -> Vec<&'a mut [f32]> {
    let (mut rest, mut past) = (x, 0);
    let piece = |(rows, at): &(Range<usize>, usize)| {
        let (_, from) = std::mem::take(&mut rest).split_at_mut((at - past) * dim);
        let (piece, behind) = from.split_at_mut(rows.len() * dim);
        (rest, past) = (behind, at + rows.len());
        piece
    };
    groups.iter().map(piece).collect()
}

vectorised! {
    fn forward_rows<I>(
        eps: f32, x: &[f32], gain: &[f32], bias: &[f32], y: &mut [f32], mean: &mut [f32], rstd: &mut [f32],
    ) {
        let dim = gain.len();
        for (((x, y), mean), rstd) in
            x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)).zip(mean).zip(rstd)
        {
            let m = sum::<I>(x) / dim as f32;
            // two passes: the difference of squares would cancel
            let r = 1.0 / (squares_around::<I>(x, m) / dim as f32 + eps).sqrt();
            for (((y, x), g), b) in y.iter_mut().zip(x).zip(gain).zip(bias) {
                *y = mul_add::<I>((x - m) * r, *g, *b);
            }
            (*mean, *rstd) = (m, r);
        }
    }

    fn backward_rows<I>(
        dy: &[f32], x: &[f32], gain: &[f32], mean: &[f32], rstd: &[f32], dx: &mut [f32], dgain: &mut [f32], dbias: &mut [f32],
    ) {
        let dim = gain.len();
        let rows = dy.chunks_exact(dim).zip(x.chunks_exact(dim)).zip(dx.chunks_exact_mut(dim));
        for (((dy, x), dx), (m, r)) in rows.zip(mean.iter().zip(rstd)) {
            let (a, b) = weighted_sums::<I>(dy, x, gain, *m, *r);
            let (a, b) = (a / dim as f32, b / dim as f32);
            for i in 0..dim {
                let z = (x[i] - m) * r;
                dx[i] = mul_add::<I>(*r, mul_add::<I>(-z, b, dy[i] * gain[i] - a), dx[i]);
                dgain[i] = mul_add::<I>(dy[i], z, dgain[i]);
                dbias[i] += dy[i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::probe::{differentiates, half, poison, values, weighted};
    use crate::kernels::{Numbers, Products, Rows, scalar};

    /// Of a matrix of `total` rows.
    fn check(products: Products, rows: Rows<'_>, total: usize, dim: usize, offset: f32) {
        let count = rows.len();
        let x: Vec<f32> = values("x", total * dim).into_iter().map(|v| v + offset).collect();
        let (dy, gain, bias) = (values("dy", count * dim), values("gain", dim), values("bias", dim));
        let tolerance = 3e-6 + 1e-6 * f64::from(offset);
        let far = if products == Products::Bf16 { 8e-3 } else { tolerance };
        macro_rules! forward {
            ($module:ident) => {
                |[y, mean, rstd]| {
                    let mut y = crate::kernels::probe::Stored::new(products, y);
                    let to = y.view();
                    crate::kernels::$module::layer_norm::forward(
                        rows, dim, 1e-6, &x, &gain, &bias, to, mean, rstd,
                    );
                    y.finish();
                }
            };
        }
        let outputs = [poison(count * dim), poison(count), poison(count)];
        crate::kernels::probe::agree("layer_norm::forward", far, outputs, forward!(cpu), forward!(scalar));
        let (mut y, mut mean, mut rstd) = (poison(count * dim), poison(count), poison(count));
        let to = (&mut y[..]).into();
        scalar::layer_norm::forward(rows, dim, 1e-6, &x, &gain, &bias, to, &mut mean, &mut rstd);
        let dy_half = half(&dy);
        let dy = if products == Products::Bf16 { Numbers::Bf16(&dy_half) } else { Numbers::F32(&dy) };
        twins!(
            tolerance,
            layer_norm::backward(rows, dim, dy, &x, &gain, &mean, &rstd, dx, dgain, dbias),
            dx = values("dx", total * dim),
            dgain = values("dgain", dim),
            dbias = values("dbias", dim)
        );
    }

    #[test]
    fn fast_layer_norm_agrees_with_its_twin() {
        for products in [Products::F32, Products::Bf16] {
            for (rows, dim) in [(1, 5), (3, 64), (17, 128), (37, 384), (197, 70), (1000, 33)] {
                check(products, Rows::All(rows), rows, dim, 0.0);
                // the mean far from 0 is where one pass over the squares would fail
                check(products, Rows::All(rows), rows, dim, 30.0);
            }
            for (images, each, all, dim) in
                [(&[0, 2][..], 1, 3, 5), (&[], 7, 2, 64), (&[1, 2, 5], 37, 7, 384), (&[0, 3], 197, 4, 70)]
            {
                check(products, Rows::Of { images, each }, all * each, dim, 0.0);
            }
            check(products, Rows::Every { first: 1, apart: 3, count: 70 }, 211, 33, 0.0);
        }
    }

    #[test]
    fn scalar_layer_norm_differentiates() {
        let (x, dy, gain) = (values("x", 10), values("dy", 10), values("gain", 5));
        let run = |x: &[f32], gain: &[f32]| {
            let (mut y, mut mean, mut rstd) = (poison(10), poison(2), poison(2));
            let to = (&mut y[..]).into();
            scalar::layer_norm::forward(Rows::All(2), 5, 1e-6, x, gain, &[0.5; 5], to, &mut mean, &mut rstd);
            (weighted(&dy, &y), mean, rstd)
        };
        let (_, mean, rstd) = run(&x, &gain);
        let (mut dx, mut dgain, mut dbias) = (vec![0.0; 10], vec![0.0; 5], vec![0.0; 5]);
        let dy = dy[..].into();
        scalar::layer_norm::backward(
            Rows::All(2),
            5,
            dy,
            &x,
            &gain,
            &mean,
            &rstd,
            &mut dx,
            &mut dgain,
            &mut dbias,
        );
        differentiates("dx", &x, &dx, |x| run(x, &gain).0);
        differentiates("dgain", &gain, &dgain, |gain| run(&x, gain).0);
    }
}
