//! Batch norm (Ioffe and Szegedy 2015) over the rows of x (rows, dim), each column its own channel; in the same pass a residual is
//! added, and what is below 0 becomes 0, as residual networks ask for.

use super::lanes::{mul_add, positive};
use super::split::{each_part, each_part2, rows_per_task, sum_over_rows, with_scratch};

/// Training mode: y = (x - mean) · rstd · gain + bias + residual with this batch's mean and biased variance, all (dim) kept;
/// under `relu` the larger of that and 0.
pub fn forward(
    rows: usize,
    dim: usize,
    eps: f32,
    relu: bool,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
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
    scale_and_shift(rows, dim, relu, x, gain, bias, residual, mean, rstd, y);
}

/// Evaluation mode: the same with given statistics.
pub fn apply(
    rows: usize,
    dim: usize,
    eps: f32,
    relu: bool,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
    mean: &[f32],
    variance: &[f32],
    y: &mut [f32],
) {
    let rstd: Vec<f32> = variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
    scale_and_shift(rows, dim, relu, x, gain, bias, residual, mean, &rstd, y);
}

/// The gradient of training mode; dx, dresidual, dgain and dbias are added to. `y` is what [`forward`] gave under `relu`.
pub fn backward(
    rows: usize,
    dim: usize,
    dy: &[f32],
    y: Option<&[f32]>,
    x: &[f32],
    gain: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    dresidual: Option<&mut [f32]>,
    dgain: &mut [f32],
    dbias: &mut [f32],
) {
    assert_eq!([dy.len(), x.len(), dx.len()], [rows * dim; 3], "dy, x, dx of a batch norm");
    assert!(y.is_none_or(|y| y.len() == dy.len()), "y of a batch norm");
    assert!(
        dresidual.as_ref().is_none_or(|d| d.len() == dy.len()),
        "the gradient of a batch norm's residual"
    );
    assert_eq!([gain.len(), mean.len(), rstd.len()], [dim; 3], "gain and statistics of a batch norm");
    assert_eq!([dgain.len(), dbias.len()], [dim; 2], "gradients of a batch norm");
    // the columns' sums of dy and of dy · z, z the normalised x
    let mut sums = vec![0.0; 2 * dim];
    sum_over_rows(rows, &mut sums, |rows, sums| {
        let span = rows.start * dim..rows.end * dim;
        let (plain, along) = sums.split_at_mut(dim);
        through(dy, y, span.clone(), |dz| add_gradients(dz, &x[span], mean, rstd, plain, along));
    });
    let (plain, along) = sums.split_at(dim);
    let part = rows_per_task(dim) * dim;
    let back = |i: usize, dx: &mut [f32], dresidual: &mut [f32]| {
        let span = i * part..i * part + dx.len();
        through(dy, y, span.clone(), |dz| {
            backward_rows(rows as f32, dz, &x[span], gain, mean, rstd, plain, along, dx);
            add_into(dz, dresidual);
        });
    };
    match dresidual {
        None => each_part(part.max(1), dx, |i, dx| back(i, dx, &mut [])),
        Some(dresidual) => each_part2((part.max(1), dx), (part.max(1), dresidual), back),
    }
    for c in 0..dim {
        dbias[c] += plain[c];
        dgain[c] += along[c];
    }
}

/// Lends the gradient before the ReLU of a stretch of numbers: dy where y is above 0, or dy itself where there is none.
fn through(dy: &[f32], y: Option<&[f32]>, span: std::ops::Range<usize>, work: impl FnOnce(&[f32])) {
    let dy = &dy[span.clone()];
    match y {
        None => work(dy),
        Some(y) => with_scratch(dy.len(), |dz| {
            masked(dy, &y[span], dz);
            work(dz);
        }),
    }
}

fn scale_and_shift(
    rows: usize,
    dim: usize,
    relu: bool,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
    mean: &[f32],
    rstd: &[f32],
    y: &mut [f32],
) {
    assert_eq!([x.len(), y.len()], [rows * dim; 2], "x and y of a batch norm");
    assert_eq!([gain.len(), bias.len(), mean.len(), rstd.len()], [dim; 4], "parameters of a batch norm");
    assert!(residual.is_none_or(|r| r.len() == x.len()), "the residual of a batch norm");
    let part = rows_per_task(dim) * dim;
    each_part(part.max(1), y, |i, y| {
        let span = i * part..i * part + y.len();
        shift_rows(&x[span.clone()], gain, bias, mean, rstd, y);
        if let Some(residual) = residual {
            add_into(&residual[span], y);
        }
        if relu {
            clamp(y);
        }
    });
}

vectorised! {
    fn add_into<I>(x: &[f32], sum: &mut [f32]) {
        for (s, x) in sum.iter_mut().zip(x) {
            *s += x;
        }
    }

    fn clamp<I>(y: &mut [f32]) {
        for y in y {
            *y = positive(*y);
        }
    }

    fn masked<I>(dy: &[f32], y: &[f32], dz: &mut [f32]) {
        for ((dz, dy), y) in dz.iter_mut().zip(dy).zip(y) {
            *dz = if *y > 0.0 { *dy } else { 0.0 };
        }
    }

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
mod tests;
