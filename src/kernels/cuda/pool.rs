//! Pooling of maps (batch, height, width, channels): the largest of 3 × 3 with stride 2 and a border that counts for nothing, and the
//! mean of all positions.

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::launch::{Launch, launch};
use super::view::{View, ViewMut};

/// Threads of a block, each with four channels of a position.
const THREADS: usize = 256;

/// How many blocks it takes for an image's positions, and how all images' are started.
fn pieces(batch: usize, positions: usize, channels: usize) -> (i32, Launch) {
    let items = positions * channels.div_ceil(4);
    assert!(items < i32::MAX as usize, "a map of {positions} positions and {channels} channels");
    let pieces = items.div_ceil(THREADS);
    (pieces as i32, Launch::blocks(batch * pieces, THREADS as u32))
}

/// Numbers of maps, and of what is under their windows.
fn sizes(batch: usize, height: usize, width: usize, channels: usize) -> [usize; 3] {
    let windows = batch * height.div_ceil(2) * width.div_ceil(2);
    [batch * height * width, windows, windows].map(|n| n * channels)
}

/// y (batch, ⌈height / 2⌉, ⌈width / 2⌉, channels) the largest under each window, NaN where there is one; `places` where under its
/// window each was found first, 0 to 8 row by row.
pub fn max(
    gpu: &Gpu,
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    x: View<'_>,
    y: ViewMut<'_>,
    places: ViewMut<'_>,
) -> Result<(), CudaError> {
    assert_eq!(
        [x.len(), y.len(), places.len()],
        sizes(batch, height, width, channels),
        "x, y, places of a pool"
    );
    let (pieces, blocks) = pieces(batch, height.div_ceil(2) * width.div_ceil(2), channels);
    launch!(gpu, "pool_max", blocks; pieces, height as i32, width as i32, channels as i32, x, y, places)
}

/// dx += dy where each of y was found.
pub fn max_backward(
    gpu: &Gpu,
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    dy: View<'_>,
    places: View<'_>,
    dx: ViewMut<'_>,
) -> Result<(), CudaError> {
    let found = [dx.len(), dy.len(), places.len()];
    assert_eq!(found, sizes(batch, height, width, channels), "dx, dy, places of a pool");
    let (pieces, blocks) = pieces(batch, height * width, channels);
    launch!(gpu, "pool_max_backward", blocks; pieces, height as i32, width as i32, channels as i32, dy, places, dx)
}

/// (batch, positions, channels) to the means of each image's positions, (batch, channels).
pub fn average(
    gpu: &Gpu,
    batch: usize,
    positions: usize,
    channels: usize,
    x: View<'_>,
    y: ViewMut<'_>,
) -> Result<(), CudaError> {
    let image = positions * channels;
    assert_eq!([x.len(), y.len()], [batch * image, batch * channels], "x and y of a mean of positions");
    let groups = channels.div_ceil(128);
    let blocks = Launch::blocks(batch * groups, 256);
    launch!(gpu, "pool_average", blocks; groups as i32, positions as i32, channels as i32, x, y)
}

/// dx += dy / positions at every position.
pub fn average_backward(
    gpu: &Gpu,
    batch: usize,
    positions: usize,
    channels: usize,
    dy: View<'_>,
    dx: ViewMut<'_>,
) -> Result<(), CudaError> {
    let image = positions * channels;
    assert_eq!([dx.len(), dy.len()], [batch * image, batch * channels], "dx and dy of a mean of positions");
    let (pieces, blocks) = pieces(batch, positions, channels);
    launch!(gpu, "pool_average_backward", blocks; pieces, positions as i32, channels as i32, dy, dx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cuda::probe::{self, lent, near, taken};
    use crate::kernels::cuda::scratch::Memory;
    use crate::kernels::probe::{poison, values};
    use crate::kernels::scalar::pool as slow;

    /// A buffer, and how its numbers lie after `start` others, on no boundary.
    struct Buffer(Memory, usize);

    impl Buffer {
        fn new(gpu: &Gpu, start: usize, values: &[f32]) -> Buffer {
            Buffer(lent(gpu, &[&vec![f32::NAN; start], values].concat()), start)
        }

        fn view(&self) -> View<'_> {
            self.0.view().slice(self.1..self.0.len())
        }

        fn view_mut(&mut self) -> ViewMut<'_> {
            // SAFETY: a stretch of the memory, which is borrowed for as long
            unsafe { ViewMut::new(self.view().pointer(), self.view().len()) }
        }

        fn taken(&self, gpu: &Gpu) -> Vec<f32> {
            gpu.read(self.view()).unwrap()
        }
    }

    fn check(gpu: &Gpu, (batch, height, width, channels): (usize, usize, usize, usize), start: usize) {
        let [count, windows, _] = sizes(batch, height, width, channels);
        let buffer = |values: &[f32]| Buffer::new(gpu, start, values);
        let (x, dy) = (values("x", count), values("dy", windows));
        let (gx, gdy, [mut y, mut places]) =
            (buffer(&x), buffer(&dy), [0; 2].map(|_| buffer(&poison(windows))));
        max(gpu, batch, height, width, channels, gx.view(), y.view_mut(), places.view_mut()).unwrap();
        let (mut y_want, mut places_want) = (poison(windows), poison(windows));
        slow::max(batch, height, width, channels, &x, &mut y_want, &mut places_want);
        assert_eq!((y.taken(gpu), places.taken(gpu)), (y_want, places_want.clone()));

        let mut dx_want = values("dx", count);
        let mut dx = buffer(&dx_want);
        max_backward(gpu, batch, height, width, channels, gdy.view(), places.view(), dx.view_mut()).unwrap();
        slow::max_backward(batch, height, width, channels, &dy, &places_want, &mut dx_want);
        near("dx of the largest", 1e-6, &dx.taken(gpu), &dx_want);

        let (positions, dmean) = (height * width, values("dmean", batch * channels));
        let (mut mean_want, mut dx_want) = (poison(batch * channels), values("dx", count));
        let (gdmean, mut mean, mut dx) = (buffer(&dmean), buffer(&mean_want), buffer(&dx_want));
        average(gpu, batch, positions, channels, gx.view(), mean.view_mut()).unwrap();
        slow::average(batch, positions, channels, &x, &mut mean_want);
        near("means", 2e-6, &mean.taken(gpu), &mean_want);
        average_backward(gpu, batch, positions, channels, gdmean.view(), dx.view_mut()).unwrap();
        slow::average_backward(batch, positions, channels, &dmean, &mut dx_want);
        near("dx of the mean", 1e-6, &dx.taken(gpu), &dx_want);
    }

    #[test]
    fn pools_agree_with_their_twin() {
        let Some(gpu) = probe::gpu() else { return };
        for sizes in [
            (1, 1, 1, 1),
            (2, 3, 5, 7),
            (3, 8, 6, 33),
            (2, 1, 9, 16),
            (2, 28, 27, 64),
            (3, 5, 4, 260),
            (0, 4, 4, 3),
        ] {
            check(gpu, sizes, 0);
            check(gpu, sizes, 1);
        }
    }

    #[test]
    fn of_equals_the_first_is_taken_and_a_nan_is_not_lost() {
        let Some(gpu) = probe::gpu() else { return };
        let largest = |x: [f32; 4]| {
            let (x, mut y, mut places) = (lent(gpu, &x), lent(gpu, &[0.0]), lent(gpu, &[9.0]));
            max(gpu, 1, 2, 2, 1, x.view(), y.view_mut(), places.view_mut()).unwrap();
            (taken(gpu, &y)[0], taken(gpu, &places)[0])
        };
        assert_eq!(largest([5.0; 4]), (5.0, 4.0));
        let (y, place) = largest([5.0, 6.0, f32::NAN, 7.0]);
        assert!(y.is_nan() && place == 7.0);
    }
}
