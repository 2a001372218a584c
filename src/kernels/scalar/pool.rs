//! Pooling of maps, slowly.

/// Calls `look(y index, place, x index)` for each number under each window of 3 × 3.
fn each_place([batch, height, width, channels]: [usize; 4], mut look: impl FnMut(usize, usize, usize)) {
    let (down, across) = (height.div_ceil(2), width.div_ceil(2));
    for i in 0..batch * down * across * channels {
        let (position, channel) = (i / channels, i % channels);
        let (b, y, x) = (position / (down * across), position / across % down, position % across);
        for place in 0..9 {
            let (row, column) = (2 * y + place / 3, 2 * x + place % 3);
            if (1..=height).contains(&row) && (1..=width).contains(&column) {
                look(i, place, ((b * height + row - 1) * width + column - 1) * channels + channel);
            }
        }
    }
}

/// The largest under each window, and where under it.
pub fn max(
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    x: &[f32],
    y: &mut [f32],
    places: &mut [f32],
) {
    y.fill(f32::NEG_INFINITY);
    each_place([batch, height, width, channels], |to, place, from| {
        if x[from] > y[to] {
            (y[to], places[to]) = (x[from], place as f32);
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
    each_place([batch, height, width, channels], |to, place, from| {
        if places[to] == place as f32 {
            dx[from] += dy[to];
        }
    });
}

/// The mean of each image's positions.
pub fn average(batch: usize, positions: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    for i in 0..batch * channels {
        let at = |p: usize| f64::from(x[(i / channels * positions + p) * channels + i % channels]);
        y[i] = ((0..positions).map(at).sum::<f64>() / positions as f64) as f32;
    }
}

/// dx += dy / positions at every position.
pub fn average_backward(batch: usize, positions: usize, channels: usize, dy: &[f32], dx: &mut [f32]) {
    for i in 0..batch * positions * channels {
        let own = dy[i / (positions * channels) * channels + i % channels];
        dx[i] = (f64::from(dx[i]) + f64::from(own) / positions as f64) as f32;
    }
}
