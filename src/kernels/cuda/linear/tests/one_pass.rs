//! A GELU beside a product: in one pass where the numbers suit, and in several.

use super::*;

/// What a twin makes of numbers in f32 and, with it, what they are on the GPU.
pub type Both<'a> = (&'a [f32], Any<'a>);

pub fn check_gelu(
    gpu: &Gpu,
    p: Products,
    kind: Products,
    (rows, inp, out): (usize, usize, usize),
    x: Both<'_>,
    w: &[f32],
    b: Option<&[f32]>,
) {
    let (gw, gb) = (lent(gpu, w), b.map(|b| lent(gpu, b)));
    let gb = gb.as_ref().map(Memory::view);
    let [mut pre, mut y, mut alone] = [(); 3].map(|()| poisoned(gpu, kind, rows * out));
    forward_gelu(gpu, p, rows, inp, out, x.1, gw.view(), gb, Some(pre.any_mut()), y.any_mut()).unwrap();
    forward_gelu(gpu, p, rows, inp, out, x.1, gw.view(), gb, None, alone.any_mut()).unwrap();
    let [mut want_pre, mut want] = [poison(rows * out), poison(rows * out)];
    let outputs = ((&mut want_pre[..]).into(), (&mut want[..]).into());
    scalar::linear::forward_gelu(p, rows, inp, out, numbers(x.0), w, b, Some(outputs.0), outputs.1);
    let (far, what) = (tolerance(kind, PLAIN), format!("of {p:?} {rows} x {inp} x {out}, stored {kind:?}"));
    near(&format!("pre {what}"), far, &taken(gpu, &pre), &want_pre);
    near(&format!("gelu {what}"), far, &taken(gpu, &y), &want);
    assert_eq!(taken(gpu, &alone), taken(gpu, &y), "gelu alone {what}");
}

pub fn check_backward_gelu(
    gpu: &Gpu,
    p: Products,
    kind: Products,
    (rows, inp, out): (usize, usize, usize),
    dy: Both<'_>,
    w: &[f32],
) {
    // before the GELU stand numbers of the product's kind, whatever the others are
    let mut want_act = representable(p, &values("pre", rows * inp));
    let (gw, start) = (lent(gpu, w), values("db", inp));
    let (mut pre, mut dpre, mut db) =
        (stored(gpu, p, &want_act), poisoned(gpu, kind, rows * inp), lent(gpu, &start));
    backward_gelu(gpu, p, rows, inp, out, dy.1, gw.view(), pre.any_mut(), dpre.any_mut(), db.view_mut())
        .unwrap();
    let (mut want, mut want_db) = (poison(rows * inp), start);
    let outputs = ((&mut want_act[..]).into(), (&mut want[..]).into());
    scalar::linear::backward_gelu(p, rows, inp, out, numbers(dy.0), w, outputs.0, outputs.1, &mut want_db);
    let (far, what) = (tolerance(kind, PLAIN), format!("of {p:?} {rows} x {inp} x {out}, stored {kind:?}"));
    let dpre = taken(gpu, &dpre);
    near(&format!("dpre {what}"), far, &dpre, &want);
    near(&format!("gelu {what}"), tolerance(p, PLAIN), &taken(gpu, &pre), &want_act);
    // the sums are those of the numbers that were kept
    let mut kept = values("db", inp);
    scalar::linear::backward_bias(rows, inp, numbers(&dpre), &mut kept);
    near(&format!("db {what}"), PLAIN, &taken(gpu, &db), &kept);
}

#[test]
fn a_gelu_in_one_pass_agrees_with_its_twin_at_every_edge() {
    let Some(gpu) = probe::gpu() else { return };
    for p in [Products::Bf16, Products::F16] {
        // one block and several, whole and not; depths of no step, of part of one, and of more than are under way
        for (rows, inp, out) in
            [(1, 8, 8), (128, 32, 128), (129, 40, 136), (300, 136, 72), (60, 168, 264), (257, 16, 130 * 8)]
        {
            let shape = tiles::Shape { rows, cols: out, depth: inp };
            let Given { x, dy, w, bias } = given(p, rows, inp, out, true);
            let [gx, gdy] = [&x, &dy].map(|v| stored(gpu, p, v));
            assert_eq!(tiles::suits(gpu, shape, &[gx.any(), gdy.any()]), gpu.generation() >= 8);
            for b in [None, Some(&bias[..])] {
                check_gelu(gpu, p, p, (rows, inp, out), (&x, gx.any()), &w, b);
            }
            check_backward_gelu(gpu, p, p, (rows, inp, out), (&dy, gdy.any()), &w);
        }
    }
}

#[test]
fn a_gelu_in_one_pass_hides_no_nan() {
    let Some(gpu) = probe::gpu() else { return };
    for (kind, place) in [(Products::Bf16, 0), (Products::F16, 70)] {
        let mut x = values("x", 9 * 16);
        x[place] = f32::NAN;
        let (gx, w) = (stored(gpu, kind, &x), lent(gpu, &values("w", 24 * 16)));
        let mut y = poisoned(gpu, kind, 9 * 24);
        forward_gelu(gpu, kind, 9, 16, 24, gx.any(), w.view(), None, None, y.any_mut()).unwrap();
        let y = taken(gpu, &y);
        let whole = |row: usize| y[row * 24..][..24].iter().all(|y| y.is_finite());
        assert!((0..9).all(|row| whole(row) != (row == place / 16)), "{kind:?}: {y:?}");
        assert!(y[place / 16 * 24..][..24].iter().all(|y| y.is_nan()));
    }
}
