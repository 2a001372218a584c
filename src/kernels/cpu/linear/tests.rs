use crate::kernels::probe::{Stored, agree, differentiates, half, poison, values, weighted};
use crate::kernels::{Numbers, Products, Rows, scalar};

fn check(products: Products, rows: usize, inp: usize, out: usize) {
    let (w, bias) = (values("w", out * inp), values("bias", out));
    let [x, dy, pre] = [("x", inp), ("dy", out), ("pre", inp)].map(|(name, n)| values(name, rows * n));
    let [x_half, dy_half, pre_half] = [&x, &dy, &pre].map(|v| half(v));
    let of = |full, half| match products {
        Products::F32 | Products::F16 => Numbers::F32(full),
        Products::Bf16 => Numbers::Bf16(half),
    };
    let (p, pre) = (products, of(&pre, &pre_half));
    // a factor stored in f32 is rounded on its way into a product of bf16
    for (x, dy) in [(of(&x, &x_half), of(&dy, &dy_half)), (Numbers::F32(&x), Numbers::F32(&dy))] {
        for bias in [None, Some(&bias[..])] {
            stored_twins!(5e-6, p, linear::forward(p, rows, inp, out, x, &w, bias; y: rows * out));
            check_gelu(p, (rows, inp, out), x, &w, bias);
            check_residual(p, Rows::All(rows), rows, (inp, out), x, &w, bias);
            let few = Rows::Every { first: 1, apart: 2, count: rows };
            check_residual(p, few, 2 * rows + 1, (inp, out), x, &w, bias);
            for each in [1, 17, 197].into_iter().filter(|&each| rows.is_multiple_of(each)) {
                // every other image, from the second on
                let images: Vec<usize> = (0..rows / each).map(|i| 2 * i + 1).collect();
                let few = Rows::Of { images: &images, each };
                check_residual(p, few, 2 * rows + each, (inp, out), x, &w, bias);
            }
        }
        stored_twins!(5e-6, p, linear::backward_input(p, rows, inp, out, dy, &w; dx: rows * inp));
        check_backward_gelu(p, (rows, inp, out), dy, &w);
        twins!(
            5e-6,
            linear::backward_input_add(p, rows, inp, out, dy, &w, dx),
            dx = values("dx", rows * inp)
        );
        twins!(5e-6, linear::backward_weight(p, rows, inp, out, dy, x, dw), dw = values("dw", out * inp));
        twins!(1e-6, linear::backward_bias(rows, out, dy, db), db = values("db", out));
    }
    stored_twins!(5e-7, p, linear::gelu_forward(pre; y: rows * inp));
    twins!(5e-7, linear::gelu_backward(pre, y), y = values("dgelu", rows * inp));
    twins!(0.0, linear::relu_forward(&x, y), y = poison(x.len()));
    twins!(0.0, linear::relu_backward(&x, y), y = values("drelu", x.len()));
}

/// The same work by both twins: `by_both!(linear => …)`.
macro_rules! by_both {
    ($kernels:ident => $work:expr) => {
        (
            {
                use crate::kernels::cpu::linear as $kernels;
                $work
            },
            {
                use crate::kernels::scalar::linear as $kernels;
                $work
            },
        )
    };
}

/// How far what is stored for such products may be from its twin's: two sums on either side of a tie are a step of bf16 apart.
fn far(p: Products) -> f64 {
    if p == Products::Bf16 { 8e-3 } else { 5e-6 }
}

fn check_gelu(
    p: Products,
    (rows, inp, out): (usize, usize, usize),
    x: Numbers<'_>,
    w: &[f32],
    b: Option<&[f32]>,
) {
    let (fast, slow) = by_both!(linear => |[pre, y, alone]: &mut [Vec<f32>; 3]| {
        let [mut pre, mut y, mut alone] = [pre, y, alone].map(|v| Stored::new(p, v));
        linear::forward_gelu(p, rows, inp, out, x, w, b, Some(pre.view()), y.view());
        linear::forward_gelu(p, rows, inp, out, x, w, b, None, alone.view());
        [pre, y, alone].into_iter().for_each(Stored::finish);
    });
    let start = [(); 3].map(|()| poison(rows * out));
    agree("linear::forward_gelu", far(p), start, fast, slow);
}

fn check_backward_gelu(p: Products, (rows, inp, out): (usize, usize, usize), dy: Numbers<'_>, w: &[f32]) {
    let (fast, slow) = by_both!(linear => |[pre, dpre, db]: &mut [Vec<f32>; 3]| {
        let [mut pre, mut dpre] = [pre, dpre].map(|v| Stored::new(p, v));
        linear::backward_gelu(p, rows, inp, out, dy, w, pre.view(), dpre.view(), db);
        [pre, dpre].into_iter().for_each(Stored::finish);
    });
    let start = [values("pre", rows * inp), poison(rows * inp), values("db", inp)];
    agree("linear::backward_gelu", far(p), start, fast, slow);
}

/// The rows among `total`; what is written in others shows.
fn check_residual(
    p: Products,
    rows: Rows<'_>,
    total: usize,
    (inp, out): (usize, usize),
    x: Numbers<'_>,
    w: &[f32],
    bias: Option<&[f32]>,
) {
    let residual = values("residual", total * out);
    let mut start = values("y", total * out);
    (0..rows.len()).for_each(|row| start[rows.at(row) * out..][..out].fill(f32::NAN));
    for scale in [1.0, 1.25] {
        twins!(
            5e-6,
            linear::forward_residual(p, rows, inp, out, scale, x, w, bias, &residual, y),
            y = start.clone()
        );
    }
}

#[test]
fn fast_linear_agrees_with_its_twin() {
    for products in [Products::F32, Products::Bf16] {
        for (rows, inp, out) in [
            (1, 5, 7),
            (3, 64, 1),
            (17, 5, 128),
            (37, 128, 384),
            (197, 384, 130),
            (800, 70, 33),
            (1000, 384, 300),
        ] {
            check(products, rows, inp, out);
        }
        check(products, 0, 4, 4);
    }
}

#[test]
fn scalar_linear_differentiates() {
    let (rows, inp, out) = (2, 3, 4);
    let (x, w, dy) = (values("x", 6), values("w", 12), values("dy", 8));
    let p = Products::F32;
    let loss = |x: &[f32], w: &[f32]| {
        let (mut pre, mut y) = (poison(8), poison(8));
        let outputs = ((&mut pre[..]).into(), (&mut y[..]).into());
        scalar::linear::forward_gelu(p, rows, inp, out, x.into(), w, None, Some(outputs.0), outputs.1);
        weighted(&dy, &y)
    };
    let (mut pre, mut dpre) = (poison(8), dy.clone());
    scalar::linear::forward(p, rows, inp, out, x[..].into(), &w, None, (&mut pre[..]).into());
    scalar::linear::gelu_backward(pre[..].into(), &mut dpre);
    let (mut dx, mut dw) = (poison(6), vec![0.0; 12]);
    scalar::linear::backward_input(p, rows, inp, out, dpre[..].into(), &w, (&mut dx[..]).into());
    scalar::linear::backward_weight(p, rows, inp, out, dpre[..].into(), x[..].into(), &mut dw);
    differentiates("dx", &x, &dx, |x| loss(x, &w));
    differentiates("dw", &w, &dw, |w| loss(&x, w));
}

#[test]
fn a_relu_hides_no_nan() {
    let mut y = [1.0; 3];
    crate::kernels::cpu::linear::relu_forward(&[f32::NAN, -1.0, 2.0], &mut y);
    assert!(y[0].is_nan() && y[1..] == [0.0, 2.0]);
}

#[test]
fn scalar_gelu_backward_is_its_steps_in_one() {
    let (w, dy, before) = (values("w", 12), values("dy", 8), values("pre", 6));
    let (mut steps, mut db_steps, mut act) = (poison(6), vec![1.0; 3], poison(6));
    scalar::linear::backward_input(Products::F32, 2, 3, 4, dy[..].into(), &w, (&mut steps[..]).into());
    scalar::linear::gelu_backward(before[..].into(), &mut steps);
    scalar::linear::gelu_forward(before[..].into(), (&mut act[..]).into());
    scalar::linear::backward_bias(2, 3, steps[..].into(), &mut db_steps);
    let (mut pre, mut one, mut db) = (before, poison(6), vec![1.0; 3]);
    let outputs = ((&mut pre[..]).into(), (&mut one[..]).into());
    scalar::linear::backward_gelu(Products::F32, 2, 3, 4, dy[..].into(), &w, outputs.0, outputs.1, &mut db);
    for (one, steps) in [(&one, &steps), (&pre, &act), (&db, &db_steps)] {
        one.iter().zip(steps).for_each(|(a, b)| assert!((a - b).abs() < 1e-6 * a.abs().max(1.0)));
    }
}
