use super::Dims;
use crate::kernels::probe::{differentiates, poison, values, weighted};
use crate::kernels::{Products, scalar};

fn dims([batch, height, width, inp, out, side, stride]: [usize; 7]) -> Dims {
    Dims { batch, height, width, inp, out, side, stride }
}

fn outputs(d: Dims) -> usize {
    d.batch * d.height.div_ceil(d.stride) * d.width.div_ceil(d.stride) * d.out
}

fn check(sizes: [usize; 7]) {
    let d = dims(sizes);
    let (x, w) =
        (values("x", d.batch * d.height * d.width * d.inp), values("w", d.out * d.side * d.side * d.inp));
    let dy = values("dy", outputs(d));
    let f32 = Products::F32;
    twins!(5e-6, conv::forward(f32, d, &x, &w, y), y = poison(dy.len()));
    twins!(1e-5, conv::backward_weight(f32, d, &dy, &x, dw), dw = values("dw", w.len()));
    twins!(1e-5, conv::backward_input(f32, d, &dy, &w, dx), dx = values("dx", x.len()));
    let pixels = d.height * d.width;
    twins!(0.0, conv::channels_last(d.batch, d.inp, pixels, &x, maps), maps = poison(x.len()));
}

#[test]
fn fast_convolutions_agree_with_their_twin() {
    for [batch, height, width, inp, out] in [
        [1, 1, 1, 1, 1],
        [1, 2, 2, 3, 5],
        [3, 5, 7, 3, 8],
        [2, 8, 6, 17, 33],
        [2, 32, 32, 3, 32],
        // more images than one run of windows holds
        [9, 32, 32, 32, 7],
        [0, 4, 4, 3, 8],
    ] {
        check([batch, height, width, inp, out, 3, 2]);
        if batch * height * width * inp < 5000 {
            for (side, stride) in [(1, 1), (1, 2), (3, 1), (5, 2), (7, 2), (7, 1), (3, 3)] {
                check([batch, height, width, inp, out, side, stride]);
            }
        }
    }
}

#[test]
fn scalar_convolution_differentiates() {
    for sizes in [[2, 3, 4, 2, 3, 3, 2], [2, 3, 4, 2, 3, 3, 1], [1, 4, 3, 2, 2, 5, 2], [2, 2, 3, 3, 2, 1, 2]]
    {
        let d = dims(sizes);
        let (x, w) =
            (values("x", d.batch * d.height * d.width * d.inp), values("w", d.out * d.side * d.side * d.inp));
        let dy = values("dy", outputs(d));
        let loss = |x: &[f32], w: &[f32]| {
            let mut y = poison(dy.len());
            scalar::conv::forward(Products::F32, d, x, w, &mut y);
            weighted(&dy, &y)
        };
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        scalar::conv::backward_input(Products::F32, d, &dy, &w, &mut dx);
        scalar::conv::backward_weight(Products::F32, d, &dy, &x, &mut dw);
        differentiates("dx", &x, &dx, |x| loss(x, &w));
        differentiates("dw", &w, &dw, |w| loss(&x, w));
    }
}

#[test]
fn one_window_in_the_middle_sees_its_neighbours_in_order() {
    // 3 × 3 maps give 2 × 2 windows; the one at (0, 0) holds the upper left 2 × 2 behind the border
    let x: Vec<f32> = (1..=9).map(|v| v as f32).collect();
    let w: Vec<f32> = (0..9).map(|place| 10f32.powi(place)).collect();
    let mut y = poison(4);
    scalar::conv::forward(Products::F32, dims([1, 3, 3, 1, 1, 3, 2]), &x, &w, &mut y);
    let expected =
        [1e4 + 2e5 + 4e7 + 5e8, 2e3 + 3e4 + 5e6 + 6e7, 4e1 + 5e2 + 7e4 + 8e5, 5e0 + 6e1 + 8e3 + 9e4];
    assert_eq!(y, expected.map(|v: f64| v as f32));
}
