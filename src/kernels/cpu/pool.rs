//! Pooling of maps (batch, height, width, channels): the largest of 3 × 3 with stride 2 and a border that counts for nothing, and the
//! mean of all positions.

use super::split::{each_part, each_part2};

/// Height and width of the window.
const SIDE: usize = 3;

/// y (batch, ⌈height / 2⌉, ⌈width / 2⌉, channels) the largest under each window, NaN where there is one; `places` where under its
/// window each was found first, 0 to 8 row by row.
pub fn max(
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    x: &[f32],
    y: &mut [f32],
    places: &mut [f32],
) {
    let (down, across) = (height.div_ceil(2), width.div_ceil(2));
    let sizes = [batch * height * width, batch * down * across, batch * down * across].map(|n| n * channels);
    assert_eq!([x.len(), y.len(), places.len()], sizes, "x, y, places of a pool");
    let line = (across * channels).max(1);
    each_part2((line, y), (line, places), |task, y, places| {
        let (image, row) = (task / down, task % down);
        let rows = y.chunks_exact_mut(channels).zip(places.chunks_exact_mut(channels));
        for (column, (y, places)) in rows.enumerate() {
            y.fill(f32::NEG_INFINITY);
            places.fill(0.0);
            for place in 0..SIDE * SIDE {
                let at = [(row, place / SIDE, height), (column, place % SIDE, width)];
                let [Some(r), Some(c)] = at
                    .map(|(window, within, end)| (2 * window + within).checked_sub(1).filter(|at| *at < end))
                else {
                    continue;
                };
                let from = ((image * height + r) * width + c) * channels;
                keep_larger(place as f32, &x[from..from + channels], y, places);
            }
        }
    });
}

/// dx += dy where each of y was found.
pub fn max_backward(
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    dy: &[f32],
    places: &[f32],
    dx: &mut [f32],
) {
    let (down, across) = (height.div_ceil(2), width.div_ceil(2));
    let sizes = [batch * height * width, batch * down * across, batch * down * across].map(|n| n * channels);
    assert_eq!([dx.len(), dy.len(), places.len()], sizes, "dx, dy, places of a pool");
    // a task is a row of the input: one row of windows lies on it, or the edges of two
    each_part((width * channels).max(1), dx, |task, dx| {
        let (image, row) = (task / height, task % height);
        for window in row / 2..(row.div_ceil(2) + 1).min(down) {
            let first = (row + 1 - 2 * window) * SIDE;
            for column in 0..across {
                let from = ((image * down + window) * across + column) * channels;
                let (dy, places) = (&dy[from..][..channels], &places[from..][..channels]);
                for within in 0..SIDE {
                    if let Some(c) = (2 * column + within).checked_sub(1).filter(|c| *c < width) {
                        let dx = &mut dx[c * channels..][..channels];
                        add_where((first + within) as f32, dy, places, dx);
                    }
                }
            }
        }
    });
}

/// (batch, positions, channels) to the means of each image's positions, (batch, channels).
pub fn average(batch: usize, positions: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    let image = positions * channels;
    assert_eq!([x.len(), y.len()], [batch * image, batch * channels], "x and y of a mean of positions");
    each_part(channels.max(1), y, |i, y| {
        y.fill(0.0);
        for x in x[i * image..][..image].chunks_exact(channels) {
            accumulate(1.0, x, y);
        }
        y.iter_mut().for_each(|y| *y /= positions as f32);
    });
}

/// dx += dy / positions at every position.
pub fn average_backward(batch: usize, positions: usize, channels: usize, dy: &[f32], dx: &mut [f32]) {
    let image = positions * channels;
    assert_eq!([dx.len(), dy.len()], [batch * image, batch * channels], "dx and dy of a mean of positions");
    let share = 1.0 / positions as f32;
    each_part(image.max(1), dx, |i, dx| {
        for dx in dx.chunks_exact_mut(channels) {
            accumulate(share, &dy[i * channels..][..channels], dx);
        }
    });
}

vectorised! {
    fn keep_larger<I>(place: f32, x: &[f32], y: &mut [f32], places: &mut [f32]) {
        for ((x, y), at) in x.iter().zip(y).zip(places) {
            // NaN is larger than any number, and stays
            let larger = *x > *y || x.is_nan();
            *y = if larger { *x } else { *y };
            *at = if larger { place } else { *at };
        }
    }

    fn add_where<I>(place: f32, dy: &[f32], places: &[f32], dx: &mut [f32]) {
        for ((dy, at), dx) in dy.iter().zip(places).zip(dx) {
            *dx += if *at == place { *dy } else { 0.0 };
        }
    }

    fn accumulate<I>(scale: f32, x: &[f32], sum: &mut [f32]) {
        for (s, x) in sum.iter_mut().zip(x) {
            *s += scale * x;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::probe::{differentiates, poison, values, weighted};
    use crate::kernels::scalar;

    fn check(batch: usize, height: usize, width: usize, channels: usize) {
        let x = values("x", batch * height * width * channels);
        let out = batch * height.div_ceil(2) * width.div_ceil(2) * channels;
        let dy = values("dy", out);
        twins!(
            0.0,
            pool::max(batch, height, width, channels, &x, y, places),
            y = poison(out),
            places = poison(out)
        );
        let (mut y, mut places) = (poison(out), poison(out));
        scalar::pool::max(batch, height, width, channels, &x, &mut y, &mut places);
        twins!(
            1e-6,
            pool::max_backward(batch, height, width, channels, &dy, &places, dx),
            dx = values("dx", x.len())
        );
        let (positions, dmean) = (height * width, values("dmean", batch * channels));
        twins!(2e-6, pool::average(batch, positions, channels, &x, y), y = poison(batch * channels));
        twins!(
            1e-6,
            pool::average_backward(batch, positions, channels, &dmean, dx),
            dx = values("dx", x.len())
        );
    }

    #[test]
    fn fast_pools_agree_with_their_twin() {
        for (batch, height, width, channels) in
            [(1, 1, 1, 1), (2, 3, 5, 7), (3, 8, 6, 33), (2, 1, 9, 16), (2, 56, 56, 64)]
        {
            check(batch, height, width, channels);
        }
        check(0, 4, 4, 3);
    }

    #[test]
    fn scalar_pools_differentiate() {
        let (batch, height, width, channels) = (2, 4, 5, 2);
        let (x, dy) = (values("x", 80), values("dy", 2 * 2 * 3 * 2));
        let pooled = |x: &[f32]| {
            let (mut y, mut places) = (poison(dy.len()), poison(dy.len()));
            scalar::pool::max(batch, height, width, channels, x, &mut y, &mut places);
            (weighted(&dy, &y), places)
        };
        let mut dx = vec![0.0; x.len()];
        scalar::pool::max_backward(batch, height, width, channels, &dy, &pooled(&x).1, &mut dx);
        differentiates("dx of the largest", &x, &dx, |x| pooled(x).0);
        let dmean = values("dmean", batch * channels);
        let mut dx = vec![0.0; x.len()];
        scalar::pool::average_backward(batch, height * width, channels, &dmean, &mut dx);
        differentiates("dx of the mean", &x, &dx, |x| {
            let mut y = poison(dmean.len());
            scalar::pool::average(batch, height * width, channels, x, &mut y);
            weighted(&dmean, &y)
        });
    }

    #[test]
    fn of_equals_the_first_is_taken_and_a_nan_is_not_lost() {
        let (mut y, mut places) = ([0.0; 1], [9.0; 1]);
        crate::kernels::cpu::pool::max(1, 2, 2, 1, &[5.0; 4], &mut y, &mut places);
        assert_eq!((y, places), ([5.0], [4.0]));
        crate::kernels::cpu::pool::max(1, 2, 2, 1, &[5.0, 6.0, f32::NAN, 7.0], &mut y, &mut places);
        assert!(y[0].is_nan() && places == [7.0]);
    }
}
