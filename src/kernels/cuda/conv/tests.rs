use super::*;
use crate::kernels::cuda::probe::{self, ALL, lent, near, poisoned, taken};
use crate::kernels::probe::{poison, values};
use crate::kernels::scalar::conv as slow;

fn check_all(gpu: &Gpu, p: Products, [batch, height, width, inp, out, side, stride]: [usize; 7]) {
    let dims = ConvDims { batch, height, width, inp, out, side, stride };
    let outputs = batch * grid(dims).0 * grid(dims).1 * out;
    let (x, w) = (values("x", batch * height * width * inp), values("w", out * side * side * inp));
    let dy = values("dy", outputs);
    // some lie on no boundary
    let start = inp % 3;
    let [gx, gw, gdy] =
        [&x, &w, &dy].map(|values| lent(gpu, &[&vec![f32::NAN; start], &values[..]].concat()));
    let [gx, gw, gdy] = [&gx, &gw, &gdy].map(|memory| memory.view().slice(start..memory.len()));
    let what = |name: &str| format!("{name} of {p:?} {dims:?}");

    let (mut y, mut want) = (poisoned(gpu, Products::F32, outputs), poison(outputs));
    forward(gpu, p, dims, gx, gw, y.view_mut()).unwrap();
    slow::forward(p, dims, &x, &w, &mut want);
    near(&what("y"), 5e-6, &taken(gpu, &y), &want);

    let mut want = values("dw", w.len());
    let mut dw = lent(gpu, &want);
    backward_weight(gpu, p, dims, gdy, gx, dw.view_mut()).unwrap();
    slow::backward_weight(p, dims, &dy, &x, &mut want);
    near(&what("dw"), 1e-5, &taken(gpu, &dw), &want);

    let mut want = values("dx", x.len());
    let mut dx = lent(gpu, &want);
    backward_input(gpu, p, dims, gdy, gw, dx.view_mut()).unwrap();
    slow::backward_input(p, dims, &dy, &w, &mut want);
    near(&what("dx"), 1e-5, &taken(gpu, &dx), &want);
}

#[test]
fn convolutions_agree_with_their_twin() {
    let Some(gpu) = probe::gpu() else { return };
    for p in ALL {
        for [batch, height, width, inp, out] in [
            [1, 1, 1, 1, 1],
            [1, 2, 2, 3, 5],
            [7, 5, 7, 3, 8],
            [2, 8, 6, 17, 33],
            [2, 9, 6, 4, 12],
            [0, 4, 4, 3, 8],
        ] {
            for (side, stride) in [(3, 2), (1, 1), (1, 2), (3, 1), (5, 2), (7, 2), (7, 1), (3, 3)] {
                check_all(gpu, p, [batch, height, width, inp, out, side, stride]);
            }
        }
    }
    check_all(gpu, Products::Bf16, [2, 32, 31, 3, 32, 3, 2]);
}

#[test]
fn channels_are_moved_last() {
    let Some(gpu) = probe::gpu() else { return };
    for (batch, channels, pixels) in [(1, 1, 1), (2, 3, 100), (3, 5, 77), (2, 33, 40), (0, 3, 4)] {
        let images = values("images", batch * channels * pixels);
        let (from, mut maps) = (lent(gpu, &images), poisoned(gpu, Products::F32, images.len()));
        channels_last(gpu, batch, channels, pixels, from.view(), maps.view_mut()).unwrap();
        let mut want = poison(images.len());
        slow::channels_last(batch, channels, pixels, &images, &mut want);
        assert_eq!(taken(gpu, &maps), want);
    }
}
