//! Batch norm (Ioffe and Szegedy 2015) over the rows of x (rows, dim), each column its own channel.

use super::lanes::mul_add;
use super::split::{each_part, rows_per_task, sum_over_rows};

/// Training mode: y = (x - mean) · rstd · gain + bias with this batch's mean and biased variance, all (dim) kept.
pub fn forward(
    rows: usize,
    dim: usize,
    eps: f32,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    y: &mut [f32],
    mean: &mut [f32],
    variance: &mut [f32],
    rstd: &mut [f32],
) {
    assert_eq!([x.len(), y.len()], [rows * dim; 2], "x and y of a batch norm");
    assert_eq!([mean.len(), variance.len(), rstd.len()], [dim; 3], "statistics of a batch norm");
    mean.fill(0.0);
    sum_over_rows(rows, mean, |rows, sum| add_rows(&x[rows.start * dim..rows.end * dim], sum));
    let count = rows as f32;
    mean.iter_mut().for_each(|m| *m /= count);
    variance.fill(0.0);
    // a second pass: the difference of squares would cancel
    sum_over_rows(rows, variance, |rows, sum| add_squares(&x[rows.start * dim..rows.end * dim], mean, sum));
    variance.iter_mut().for_each(|v| *v /= count);
    rstd.iter_mut().zip(&*variance).for_each(|(r, v)| *r = 1.0 / (v + eps).sqrt());
    scale_and_shift(rows, dim, x, gain, bias, mean, rstd, y);
}

/// Evaluation mode: the same with given statistics.
pub fn apply(
    rows: usize,
    dim: usize,
    eps: f32,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    mean: &[f32],
    variance: &[f32],
    y: &mut [f32],
) {
    let rstd: Vec<f32> = variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
    scale_and_shift(rows, dim, x, gain, bias, mean, &rstd, y);
}

/// The gradient of training mode; dx, dgain and dbias are added to.
pub fn backward(
    rows: usize,
    dim: usize,
    dy: &[f32],
    x: &[f32],
    gain: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
    dbias: &mut [f32],
) {
    assert_eq!([dy.len(), x.len(), dx.len()], [rows * dim; 3], "dy, x, dx of a batch norm");
    assert_eq!([gain.len(), mean.len(), rstd.len()], [dim; 3], "gain and statistics of a batch norm");
    assert_eq!([dgain.len(), dbias.len()], [dim; 2], "gradients of a batch norm");
    // the columns' sums of dy and of dy · z, z the normalised x
    let mut sums = vec![0.0; 2 * dim];
    sum_over_rows(rows, &mut sums, |rows, sums| {
        let span = rows.start * dim..rows.end * dim;
        let (plain, along) = sums.split_at_mut(dim);
        add_gradients(&dy[span.clone()], &x[span], mean, rstd, plain, along);
    });
    let (plain, along) = sums.split_at(dim);
    let part = rows_per_task(dim) * dim;
    each_part(part.max(1), dx, |i, dx| {
        let span = i * part..i * part + dx.len();
        backward_rows(rows as f32, &dy[span.clone()], &x[span], gain, mean, rstd, plain, along, dx);
    });
    for c in 0..dim {
        dbias[c] += plain[c];
        dgain[c] += along[c];
    }
}

fn scale_and_shift(
    rows: usize,
    dim: usize,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    mean: &[f32],
    rstd: &[f32],
    y: &mut [f32],
) {
    assert_eq!([x.len(), y.len()], [rows * dim; 2], "x and y of a batch norm");
    assert_eq!([gain.len(), bias.len(), mean.len(), rstd.len()], [dim; 4], "parameters of a batch norm");
    let part = rows_per_task(dim) * dim;
    each_part(part.max(1), y, |i, y| shift_rows(&x[i * part..][..y.len()], gain, bias, mean, rstd, y));
}

vectorised! {
    fn add_rows<I>(x: &[f32], sum: &mut [f32]) {
        for x in x.chunks_exact(sum.len()) {
            for (s, x) in sum.iter_mut().zip(x) {
                *s += x;
            }
        }
    }

    fn add_squares<I>(x: &[f32], mean: &[f32], sum: &mut [f32]) {
        for x in x.chunks_exact(sum.len()) {
            for ((s, x), m) in sum.iter_mut().zip(x).zip(mean) {
                *s = mul_add::<I>(x - m, x - m, *s);
            }
        }
    }

    fn add_gradients<I>(
        dy: &[f32], x: &[f32], mean: &[f32], rstd: &[f32], plain: &mut [f32], along: &mut [f32],
    ) {
        let dim = mean.len();
        for (dy, x) in dy.chunks_exact(dim).zip(x.chunks_exact(dim)) {
            let columns = mean.iter().zip(rstd).zip(plain.iter_mut()).zip(along.iter_mut());
            for ((dy, x), (((m, r), plain), along)) in dy.iter().zip(x).zip(columns) {
                *plain += dy;
                *along = mul_add::<I>(*dy, (x - m) * r, *along);
            }
        }
    }

    fn shift_rows<I>(x: &[f32], gain: &[f32], bias: &[f32], mean: &[f32], rstd: &[f32], y: &mut [f32]) {
        let dim = gain.len();
        for (x, y) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)) {
            let columns = gain.iter().zip(bias).zip(mean.iter().zip(rstd));
            for ((x, y), ((g, b), (m, r))) in x.iter().zip(y).zip(columns) {
                *y = mul_add::<I>((x - m) * r, *g, *b);
            }
        }
    }

    fn backward_rows<I>(
        count: f32, dy: &[f32], x: &[f32], gain: &[f32], mean: &[f32], rstd: &[f32], plain: &[f32], along: &[f32],
        dx: &mut [f32],
    ) {
        let (dim, share) = (gain.len(), 1.0 / count);
        for ((dy, x), dx) in dy.chunks_exact(dim).zip(x.chunks_exact(dim)).zip(dx.chunks_exact_mut(dim)) {
            let columns = gain.iter().zip(mean).zip(rstd).zip(plain.iter().zip(along));
            for (((dy, x), dx), (((g, m), r), (plain, along))) in dy.iter().zip(x).zip(dx).zip(columns) {
                let z = (x - m) * r;
                let d = mul_add::<I>(-z, along * share, dy - plain * share);
                *dx = mul_add::<I>(g * r, d, *dx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::probe::{differentiates, poison, values, weighted};
    use crate::kernels::scalar;

    fn check(rows: usize, dim: usize) {
        let (x, dy) = (values("x", rows * dim), values("dy", rows * dim));
        let (gain, bias) = (values("gain", dim), values("bias", dim));
        let (mut y, mut mean, mut variance, mut rstd) =
            (poison(rows * dim), poison(dim), poison(dim), poison(dim));
        scalar::batch_norm::forward(
            rows,
            dim,
            1e-2,
            &x,
            &gain,
            &bias,
            &mut y,
            &mut mean,
            &mut variance,
            &mut rstd,
        );
        twins!(
            5e-6,
            batch_norm::forward(rows, dim, 1e-2, &x, &gain, &bias, y, m, v, r),
            y = poison(rows * dim),
            m = poison(dim),
            v = poison(dim),
            r = poison(dim)
        );
        twins!(
            2e-6,
            batch_norm::apply(rows, dim, 1e-2, &x, &gain, &bias, &mean, &variance, y),
            y = poison(rows * dim)
        );
        twins!(
            5e-6,
            batch_norm::backward(rows, dim, &dy, &x, &gain, &mean, &rstd, dx, dgain, dbias),
            dx = values("dx", rows * dim),
            dgain = values("dgain", dim),
            dbias = values("dbias", dim)
        );
    }

    #[test]
    fn fast_batch_norm_agrees_with_its_twin() {
        for (rows, dim) in [(1, 5), (3, 64), (37, 7), (70, 2048), (500, 31)] {
            check(rows, dim);
        }
    }

    #[test]
    fn scalar_batch_norm_differentiates() {
        let (x, dy, gain) = (values("x", 12), values("dy", 12), values("gain", 3));
        let run = |x: &[f32], gain: &[f32]| {
            let (mut y, mut m, mut v, mut r) = (poison(12), poison(3), poison(3), poison(3));
            scalar::batch_norm::forward(4, 3, 1e-5, x, gain, &[0.1; 3], &mut y, &mut m, &mut v, &mut r);
            (weighted(&dy, &y), m, r)
        };
        let (_, mean, rstd) = run(&x, &gain);
        let (mut dx, mut dgain, mut dbias) = (vec![0.0; 12], vec![0.0; 3], vec![0.0; 3]);
        scalar::batch_norm::backward(4, 3, &dy, &x, &gain, &mean, &rstd, &mut dx, &mut dgain, &mut dbias);
        differentiates("dx", &x, &dx, |x| run(x, &gain).0);
        differentiates("dgain", &gain, &dgain, |gain| run(&x, gain).0);
    }
}
