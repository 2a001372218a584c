use super::*;
use crate::kernels::NumbersMut;
use crate::kernels::cpu::{Isa, force};
use crate::kernels::probe::{agree, poison, values};
use crate::kernels::scalar::matrix as slow;
use half::bf16;

fn whole(y: &mut [f32]) -> NumbersMut<'_> {
    y.into()
}

fn halves(x: &[f32]) -> Vec<bf16> {
    x.iter().map(|x| bf16::from_f32(*x)).collect()
}

/// Half a unit of bf16's last place, and as much again where the twins round to different neighbours.
const HALF: f64 = 8e-3;

/// Runs `work` with an output of bf16 and widens what it writes.
fn in_half(y: &mut [f32], work: impl FnOnce(NumbersMut<'_>)) {
    let mut stored = halves(y);
    work((&mut stored[..]).into());
    y.iter_mut().zip(stored).for_each(|(y, stored)| *y = stored.to_f32());
}

/// A factor with every stride and precision: rows padded by three numbers that must not be read.
fn factor(name: &str, high: usize, wide: usize, turned: bool) -> (Vec<f32>, usize) {
    let (rows, row) = if turned { (wide, high) } else { (high, wide) };
    let mut x = values(name, rows * (row + 3));
    x.chunks_mut(row + 3).for_each(|x| x[row..].fill(f32::NAN));
    (x, row + 3)
}

fn matrix<'a>(data: Numbers<'a>, row: usize, turned: bool) -> Matrix<'a> {
    if turned { Matrix::transposed(data, row) } else { Matrix::rows(data, row) }
}

fn check(m: usize, n: usize, k: usize) {
    for (i, products) in (0..32).map(|i| (i, if i & 16 == 0 { Products::F32 } else { Products::Bf16 })) {
        let (turn_a, turn_b) = (i & 1 != 0, i & 2 != 0);
        let ((a, a_row), (b, b_row)) = (factor("a", m, k, turn_a), factor("b", k, n, turn_b));
        let (a_half, b_half) = (halves(&a), halves(&b));
        let a: Numbers<'_> = if i & 4 == 0 { a[..].into() } else { a_half[..].into() };
        let b: Numbers<'_> = if i & 8 == 0 { b[..].into() } else { b_half[..].into() };
        let (a, b) = (matrix(a, a_row, turn_a), matrix(b, b_row, turn_b));
        agree(
            &format!("({m}, {n}, {k}) of kind {i}"),
            5e-6,
            [poison(m * n)],
            |[y]| product(products, (m, n, k), a, b, &Store::new(None, n, whole(y))),
            |[y]| slow::store(&slow::product(products, (m, n, k), a, b), None, whole(y)),
        );
    }
}

#[test]
fn products_agree_with_their_twin() {
    for (m, n, k) in
        [(1, 1, 1), (3, 17, 5), (8, 48, 32), (65, 49, 33), (130, 200, 401), (0, 4, 4), (4, 0, 4), (4, 4, 0)]
    {
        check(m, n, k);
    }
}

#[test]
fn products_cut_in_every_way_agree_with_their_twin() {
    // many columns for few rows; a long sum for a small product; several blocks of rows; rows kept together for a long sum
    for (m, n, k) in [(20, 2500, 60), (50, 40, 3105), (140, 60, 1700), (140, 20, 3200)] {
        check(m, n, k);
    }
}

/// Holds an epilogue of one product, in f32 and (under `stored`) with what it reads and writes in bf16, against its twin.
fn check_epilogues(m: usize, n: usize, k: usize) {
    let (a, b) = (halves(&values("a", m * k)), values("b", k * n));
    let (a, b) = (Matrix::rows(&a[..], k), Matrix::rows(&b[..], n));
    let c = slow::product(Products::Bf16, (m, n, k), a, b);
    let take = |epilogue: &dyn Epilogue| product(Products::Bf16, (m, n, k), a, b, epilogue);
    let (some, residual, pre) = (values("bias", n), values("residual", m * n), values("pre", m * n));
    let (pre_half, out) = (halves(&pre), || poison(m * n));
    for bias in [None, Some(&some[..])] {
        let store = |y: NumbersMut<'_>| take(&Store::new(bias, n, y));
        agree("Store", 5e-6, [out()], |[y]| store(whole(y)), |[y]| slow::store(&c, bias, whole(y)));
        agree(
            "Store",
            HALF,
            [out()],
            |[y]| in_half(y, store),
            |[y]| in_half(y, |y| slow::store(&c, bias, y)),
        );
        let gelu = |pre: NumbersMut<'_>, act: NumbersMut<'_>| take(&Gelu::new(bias, n, pre, act));
        agree(
            "Gelu",
            5e-6,
            [out(), out()],
            |[pre, act]| gelu(whole(pre), whole(act)),
            |[pre, act]| slow::gelu(&c, bias, whole(pre), whole(act)),
        );
        agree(
            "Gelu",
            HALF,
            [out(), out()],
            |[pre, act]| in_half(pre, |pre| in_half(act, |act| gelu(pre, act))),
            |[pre, act]| in_half(pre, |pre| in_half(act, |act| slow::gelu(&c, bias, pre, act))),
        );
        agree(
            "Residual",
            5e-6,
            [out()],
            |[y]| take(&Residual::new(1.0, bias, &residual, n, y)),
            |[y]| slow::residual(&c, bias, &residual, y),
        );
    }
    agree("Add", 5e-6, [values("y", m * n)], |[y]| take(&Add::new(n, y)), |[y]| slow::add(&c, y));
    let alone = |act: NumbersMut<'_>| take(&GeluAlone::new(None, n, act));
    let twin = |act: NumbersMut<'_>| slow::gelu(&c, None, whole(&mut out()), act);
    agree("GeluAlone", 5e-6, [out()], |[act]| alone(whole(act)), |[act]| twin(whole(act)));
    agree("GeluAlone", HALF, [out()], |[act]| in_half(act, alone), |[act]| in_half(act, twin));
    let back = |pre: NumbersMut<'_>, y: NumbersMut<'_>| take(&GeluBackward::new(pre, n, y));
    let twin = |pre: NumbersMut<'_>, y: NumbersMut<'_>| slow::gelu_backward(&c, pre, y);
    let start = || [pre_half.iter().map(|x| x.to_f32()).collect(), out()];
    agree(
        "GeluBackward",
        5e-6,
        start(),
        |[pre, y]| back(whole(pre), whole(y)),
        |[pre, y]| twin(whole(pre), whole(y)),
    );
    agree(
        "GeluBackward",
        HALF,
        start(),
        |[pre, y]| in_half(pre, |pre| in_half(y, |y| back(pre, y))),
        |[pre, y]| in_half(pre, |pre| in_half(y, |y| twin(pre, y))),
    );
    agree(
        "GeluBackward",
        HALF,
        start(),
        |[pre, y]| in_half(pre, |pre| back(pre, whole(y))),
        |[pre, y]| in_half(pre, |pre| twin(pre, whole(y))),
    );
    agree(
        "GeluBackward",
        HALF,
        start(),
        |[pre, y]| in_half(y, |y| back(whole(pre), y)),
        |[pre, y]| in_half(y, |y| twin(whole(pre), y)),
    );
}

#[test]
fn epilogues_agree_with_their_twins() {
    for (m, n, k) in [(1, 1, 1), (3, 17, 5), (70, 100, 33), (9, 64, 0), (40, 50, 3105)] {
        check_epilogues(m, n, k);
    }
}

#[test]
fn what_is_stored_as_bf16_is_rounded_to_the_nearest_even() {
    // halfway below an even and above one, just beside, and what has no neighbours
    let mut a: Vec<f32> =
        [0x3f80_8000, 0x3f81_8000, 0x3f80_7fff, 0x3f80_8001, 0x7f7f_ffff].map(f32::from_bits).into();
    a.extend([
        0.0,
        -1.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1.0,
        2.0,
        3.0,
        4.0,
        5.0,
        6.0,
        7.0,
        8.0,
        9.0,
    ]);
    for isa in [Isa::Avx512Bf16, Isa::Avx512, Isa::Avx2, Isa::Portable] {
        force(isa);
        let (one, n, mut y) = ([1.0f32], a.len(), halves(&a));
        y.fill(bf16::from_f32(-7.0));
        let (x, rows) = (Matrix::rows(&one[..], 1), Matrix::rows(&a[..], n));
        product(Products::F32, (1, n, 1), x, rows, &Store::new(None, n, y[..].as_mut().into()));
        for (y, a) in y.iter().zip(&a) {
            let same = y.to_bits() == bf16::from_f32(*a).to_bits() || y.is_nan() && a.is_nan();
            assert!(same, "{a} as {y} with {isa:?}");
        }
    }
}

#[test]
#[should_panic(expected = "too short")]
fn a_short_factor_is_refused() {
    let (a, b, mut y) = (vec![0.0; 5], vec![0.0; 6], vec![0.0; 4]);
    product(Products::F32, (2, 2, 3), Matrix::rows(&a[..], 3), Matrix::rows(&b[..], 2), &Add::new(2, &mut y));
}

#[test]
#[should_panic(expected = "of an output")]
fn a_short_output_is_refused() {
    let (a, b, mut y) = (vec![0.0; 6], vec![0.0; 6], vec![0.0; 3]);
    product(Products::F32, (2, 2, 3), Matrix::rows(&a[..], 3), Matrix::rows(&b[..], 2), &Add::new(2, &mut y));
}
