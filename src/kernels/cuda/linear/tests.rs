use super::*;
use crate::kernels::cuda::probe::{
    self, ALL, lent, near, numbers, poisoned, representable, stored, taken, tolerance,
};
use crate::kernels::probe::{poison, values};
use crate::kernels::scalar;

mod one_pass;

use super::passes::times_slope;
use one_pass::{check_backward_gelu, check_gelu};

/// What sums of f32 cost beside the twin's.
const PLAIN: f64 = 5e-6;

/// The precision of products as the scalar twin has it: numbers stored in f32 that are representable as they should be.
struct Given {
    x: Vec<f32>,
    dy: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
}

fn given(products: Products, rows: usize, inp: usize, out: usize, stored: bool) -> Given {
    let of = |name, n| match stored {
        true => representable(products, &values(name, n)),
        false => values(name, n),
    };
    Given {
        x: of("x", rows * inp),
        dy: of("dy", rows * out),
        w: values("w", out * inp),
        bias: values("bias", out),
    }
}

/// Where each output is of the kind that goes with the products, `stored`, its factors are as well; else all are f32.
fn check(gpu: &Gpu, p: Products, rows: usize, inp: usize, out: usize, as_stored: bool) {
    let Given { x, dy, w, bias } = given(p, rows, inp, out, as_stored);
    let kind = if as_stored { p } else { Products::F32 };
    let far = tolerance(kind, PLAIN);
    let [gx, gdy] = [&x, &dy].map(|v| stored(gpu, kind, v));
    let gw = lent(gpu, &w);
    let what = |name: &str| format!("{name} of {p:?} {rows} x {inp} x {out}, stored {as_stored}");
    let into = |name: &str, len: usize, fast: &dyn Fn(AnyMut<'_>), slow: &dyn Fn(&mut [f32])| {
        let (mut y, mut want) = (poisoned(gpu, kind, len), poison(len));
        fast(y.any_mut());
        slow(&mut want);
        near(&what(name), far, &taken(gpu, &y), &want);
    };
    let onto = |name: &str, len: usize, fast: &dyn Fn(ViewMut<'_>), slow: &dyn Fn(&mut [f32])| {
        let mut want = values(name, len);
        let mut y = lent(gpu, &want);
        fast(y.view_mut());
        slow(&mut want);
        near(&what(name), PLAIN, &taken(gpu, &y), &want);
    };
    for with in [false, true] {
        let (b, gb) = (with.then_some(&bias[..]), lent(gpu, &bias));
        let gb = with.then(|| gb.view());
        into(
            "y",
            rows * out,
            &|y| forward(gpu, p, rows, inp, out, gx.any(), gw.view(), gb, y).unwrap(),
            &|y| scalar::linear::forward(p, rows, inp, out, numbers(&x), &w, b, y.into()),
        );
        check_gelu(gpu, p, kind, (rows, inp, out), (&x, gx.any()), &w, b);
    }
    into(
        "dx",
        rows * inp,
        &|dx| backward_input(gpu, p, rows, inp, out, gdy.any(), gw.view(), dx).unwrap(),
        &|dx| scalar::linear::backward_input(p, rows, inp, out, numbers(&dy), &w, dx.into()),
    );
    check_backward_gelu(gpu, p, kind, (rows, inp, out), (&dy, gdy.any()), &w);
    onto(
        "dx that is added to",
        rows * inp,
        &|dx| backward_input_add(gpu, p, rows, inp, out, gdy.any(), gw.view(), dx).unwrap(),
        &|dx| scalar::linear::backward_input_add(p, rows, inp, out, numbers(&dy), &w, dx),
    );
    onto(
        "dw",
        out * inp,
        &|dw| backward_weight(gpu, p, rows, inp, out, gdy.any(), gx.any(), dw).unwrap(),
        &|dw| scalar::linear::backward_weight(p, rows, inp, out, numbers(&dy), numbers(&x), dw),
    );
    onto("db", out, &|db| backward_bias(gpu, rows, out, gdy.any(), db).unwrap(), &|db| {
        scalar::linear::backward_bias(rows, out, numbers(&dy), db)
    });
}

#[test]
fn linear_layers_agree_with_their_twin() {
    let Some(gpu) = probe::gpu() else { return };
    for p in ALL {
        for (rows, inp, out) in
            [(1, 5, 7), (3, 64, 1), (17, 5, 128), (37, 128, 136), (130, 70, 33), (600, 8, 260), (0, 4, 4)]
        {
            check(gpu, p, rows, inp, out, true);
            check(gpu, p, rows, inp, out, false);
        }
    }
}

#[test]
fn residuals_are_added_in_the_rows_that_are_named() {
    let Some(gpu) = probe::gpu() else { return };
    for p in ALL {
        for (inp, out) in [(5, 7), (8, 132), (33, 64), (40, 136)] {
            for (rows, total) in [
                (Rows::All(0), 0),
                (Rows::All(6), 6),
                (Rows::Every { first: 1, apart: 3, count: 5 }, 15),
                (Rows::Every { first: 2, apart: 0, count: 1 }, 4),
                (Rows::Every { first: 0, apart: 7, count: 3 }, 15),
                (Rows::Of { images: &[0, 2, 3], each: 5 }, 20),
                (Rows::Of { images: &[1], each: 1 }, 3),
                (Rows::Of { images: &[0, 3, 4], each: 50 }, 260),
                (Rows::Of { images: &[], each: 4 }, 4),
            ] {
                let Given { x, w, bias, .. } = given(p, rows.len(), inp, out, true);
                let residual = values("residual", total * out);
                let mut start = values("y", total * out);
                (0..rows.len()).for_each(|row| start[rows.at(row) * out..][..out].fill(f32::NAN));
                let [gx, gw, gbias, gresidual] =
                    [(&x, p), (&w, Products::F32), (&bias, Products::F32), (&residual, Products::F32)]
                        .map(|(v, kind)| stored(gpu, kind, v));
                for (scale, with) in [(1.0, false), (1.0, true), (1.25, true), (-0.5, false)] {
                    let (mut want, mut y) = (start.clone(), lent(gpu, &start));
                    let (b, gb) = (with.then_some(&bias[..]), with.then(|| gbias.view()));
                    let (to, from) = (y.view_mut(), gresidual.view());
                    forward_residual(gpu, p, rows, inp, out, scale, gx.any(), gw.view(), gb, from, to)
                        .unwrap();
                    scalar::linear::forward_residual(
                        p,
                        rows,
                        inp,
                        out,
                        scale,
                        numbers(&x),
                        &w,
                        b,
                        &residual,
                        &mut want,
                    );
                    near(&format!("{rows:?} of {p:?}"), PLAIN, &taken(gpu, &y), &want);
                }
            }
        }
    }
}

/// All but the first `start` numbers, which lie on no boundary then.
fn rest(memory: &mut Memory, start: usize) -> AnyMut<'_> {
    let (kind, at, len) =
        (memory.kind(), memory.any().slice(start..memory.len()).pointer(), memory.len() - start);
    // SAFETY: a stretch of the memory, which is borrowed for as long
    unsafe { AnyMut::new(kind, at, len) }
}

#[test]
fn passes_over_numbers_agree_with_their_twin() {
    let Some(gpu) = probe::gpu() else { return };
    for (from, to) in ALL.into_iter().flat_map(|from| ALL.map(|to| (from, to))) {
        for (len, start) in [(0, 0), (1, 0), (6, 1), (2048, 0), (4200, 0), (2053, 3)] {
            let mut x: Vec<f32> = values("x", len).into_iter().map(|x| 2.0 * x).collect();
            (len > 6).then(|| x[start + 1..start + 4].copy_from_slice(&[0.0, 9.5, -9.5]));
            let (x, dy) = (representable(from, &x), representable(to, &values("dy", len)));
            let (gx, mut y, mut gdy) = (stored(gpu, from, &x), poisoned(gpu, to, len), stored(gpu, to, &dy));
            let x_rest = gx.any().slice(start.min(len)..len);
            gelu_forward(gpu, x_rest, rest(&mut y, start.min(len))).unwrap();
            times_slope(gpu, x_rest, rest(&mut gdy, start.min(len))).unwrap();
            let (mut want, mut dwant) = (poison(len), dy.clone());
            let span = start.min(len)..len;
            scalar::linear::gelu_forward(numbers(&x[span.clone()]), (&mut want[span.clone()]).into());
            scalar::linear::gelu_backward(numbers(&x[span.clone()]), &mut dwant[span.clone()]);
            let what = format!("{len} numbers from {start} on, {from:?} to {to:?}");
            near(&what, tolerance(to, 5e-7), &taken(gpu, &y)[span.clone()], &want[span.clone()]);
            near(&what, tolerance(to, 5e-7), &taken(gpu, &gdy), &dwant);
        }
    }
}

#[test]
fn a_relu_agrees_and_hides_no_nan() {
    let Some(gpu) = probe::gpu() else { return };
    for len in [1, 5, 2048, 4099] {
        let (x, dy) = (values("x", len), values("dy", len));
        let (gx, mut y, mut gdy) = (lent(gpu, &x), poisoned(gpu, Products::F32, len), lent(gpu, &dy));
        relu_forward(gpu, gx.view(), y.view_mut()).unwrap();
        relu_backward(gpu, gx.view(), gdy.view_mut()).unwrap();
        let (mut want, mut dwant) = (poison(len), dy);
        scalar::linear::relu_forward(&x, &mut want);
        scalar::linear::relu_backward(&x, &mut dwant);
        assert_eq!((taken(gpu, &y), taken(gpu, &gdy)), (want, dwant));
    }
    let (x, mut y) = (lent(gpu, &[f32::NAN, -1.0, 2.0, -0.0]), lent(gpu, &[1.0; 4]));
    relu_forward(gpu, x.view(), y.view_mut()).unwrap();
    let y = taken(gpu, &y);
    assert!(y[0].is_nan() && y[1..] == [0.0, 2.0, 0.0]);
}

#[test]
fn sums_of_many_rows_are_near_and_always_the_same() {
    let Some(gpu) = probe::gpu() else { return };
    for (rows, out, start) in [(9000, 12, 0), (8193, 5, 0), (300, 136, 1)] {
        let dy = values("dy", rows * out);
        let (gdy, mut want) = (lent(gpu, &[&vec![f32::NAN; start], &dy[..]].concat()), vec![0.0; out]);
        let dy_view = gdy.any().slice(start..gdy.len());
        scalar::linear::backward_bias(rows, out, numbers(&dy), &mut want);
        let made = || {
            let mut db = gpu.zeros(Kind::F32, out).unwrap();
            backward_bias(gpu, rows, out, dy_view, db.view_mut()).unwrap();
            taken(gpu, &db)
        };
        near("db of many rows", 1e-6, &made(), &want);
        assert_eq!(made(), made());
    }
}
