use super::super::vectors::Portable;
use super::*;

/// Portable vectors whose multiply-add rounds once, as AVX2's does: the functions of one value use nothing else.
#[derive(Clone, Copy)]
struct Fused;

impl Vectors for Fused {
    const FUSED: bool = true;
    type V = [f32; WIDTH];
    fn splat(x: f32) -> Self::V {
        Portable::splat(x)
    }
    fn load(x: &[f32; WIDTH]) -> Self::V {
        *x
    }
    fn store(v: Self::V, to: &mut [f32; WIDTH]) {
        *to = v;
    }
    fn widen(x: &[half::bf16; WIDTH]) -> Self::V {
        Portable::widen(x)
    }
    fn narrow(v: Self::V, to: &mut [half::bf16; WIDTH]) {
        Portable::narrow(v, to);
    }
    fn add(a: Self::V, b: Self::V) -> Self::V {
        Portable::add(a, b)
    }
    fn sub(a: Self::V, b: Self::V) -> Self::V {
        Portable::sub(a, b)
    }
    fn mul(a: Self::V, b: Self::V) -> Self::V {
        Portable::mul(a, b)
    }
    fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|l| a[l].mul_add(b[l], c[l]))
    }
    fn larger(a: Self::V, b: Self::V) -> Self::V {
        Portable::larger(a, b)
    }
    fn total(v: Self::V) -> f32 {
        Portable::total(v)
    }
    fn largest(v: Self::V) -> f32 {
        Portable::largest(v)
    }
}

fn check(
    name: &str,
    points: impl Iterator<Item = f32>,
    f: impl Fn(f32) -> f32,
    truth: impl Fn(f64) -> f64,
    relative: f64,
    absolute: f64,
) {
    for x in points {
        let (got, want) = (f64::from(f(x)), truth(f64::from(x)));
        assert!((got - want).abs() <= relative * want.abs() + absolute, "{name}({x}) = {got}, not {want}");
    }
}

#[test]
fn exp_is_right_to_rounding() {
    for f in [exp_negative::<Fused>, exp_negative::<Portable>] {
        check("exp", (-86_500..1).map(|i| i as f32 * 1e-3), f, f64::exp, 1.5e-7, 0.0);
        assert_eq!([f(0.0), f(-90.0), f(f32::NEG_INFINITY)], [1.0, 0.0, 0.0]);
        assert!(f(f32::NAN).is_nan());
    }
}

#[test]
fn gelu_is_right_to_rounding_and_keeps_nan() {
    let points = || (-9_000..9_000).map(|i| i as f32 * 1e-3);
    let cdf = |x: f64| crate::kernels::scalar::linear::normal_cdf(x);
    let slope = |x: f64| cdf(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    for (f, d) in [
        (gelu::<Fused> as fn(f32) -> f32, gelu_slope::<Fused> as fn(f32) -> f32),
        (gelu::<Portable>, gelu_slope::<Portable>),
    ] {
        check("gelu", points(), f, |x| x * cdf(x), 4e-7, 2e-9);
        check("gelu'", points(), d, slope, 2e-7, 2e-7);
        assert!(f(f32::NAN).is_nan() && d(f32::NAN).is_nan());
        assert_eq!([f(-40.0), f(40.0), f(0.0), d(-40.0), d(40.0)], [0.0, 40.0, 0.0, 0.0, 1.0]);
    }
}

/// The whole range of bf16: steps of a thousandth near 0, then powers of it, and what lies beyond every float.
fn whole_range() -> impl Iterator<Item = f32> {
    let far = (0..270).map(|i| 9.0 * 1.37f32.powi(i));
    let tiny = (0..270).map(|i| 0.7f32.powi(i));
    let positive = || far.clone().chain(tiny.clone()).filter(|x| x.is_finite());
    (-9_000..9_000).map(|i| i as f32 * 1e-3).chain(positive()).chain(positive().map(|x| -x))
}

#[test]
fn gelu_for_bf16_is_right_to_a_fraction_of_its_rounding_and_keeps_nan() {
    let cdf = |x: f64| crate::kernels::scalar::linear::normal_cdf(x);
    let slope = |x: f64| cdf(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    // half a step of bf16 is 2^-9 of a number at least
    let (value_bound, slope_bound) = ((-13f64).exp2(), (-12f64).exp2());
    for (f, d) in [
        (gelu_half::<Fused> as fn(f32) -> f32, gelu_slope_half::<Fused> as fn(f32) -> f32),
        (gelu_half::<Portable>, gelu_slope_half::<Portable>),
    ] {
        check("gelu", whole_range(), f, |x| x * cdf(x), value_bound, 3e-10);
        let (root, rest): (Vec<f32>, Vec<f32>) = whole_range().partition(|x| (-1.0..-0.5).contains(x));
        check("gelu'", root.into_iter(), d, slope, slope_bound, 1e-5);
        check("gelu'", rest.into_iter(), d, slope, slope_bound, 2e-9);
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7fc0_0001), f32::from_bits(0xffff_ffff)] {
            assert!(f(nan).is_nan() && d(nan).is_nan());
        }
        assert_eq!([f(f32::INFINITY), d(f32::INFINITY)], [f32::INFINITY, 1.0]);
    }
}

vectorised! {
    fn maximum_of<I>(x: &[f32]) -> f32 {
        maximum::<I>(x)
    }

    fn sums_of<I>(x: &[f32], y: &[f32]) -> [f32; 4] {
        let (plain, along) = weighted_sums::<I>(x, y, y, 0.5, 2.0);
        [sum::<I>(x) + dot::<I>(x, y), squares_around::<I>(x, 0.5), plain, along]
    }
}

vectorised! {
    fn half_dot_of<I>(x: &[bf16], y: &[bf16]) -> f32 {
        half_dot::<I>(x, y)
    }
}

fn check_half_dot(n: usize) {
    use crate::kernels::probe::{half, values};
    let (x, y) = (half(&values("x", n)), half(&values("y", n)));
    let want = x.iter().zip(&y).map(|(x, y)| x.to_f64() * y.to_f64()).sum::<f64>();
    let got = f64::from(half_dot_of(&x, &y));
    assert!((got - want).abs() <= 1e-5 * (n as f64).sqrt(), "{got} for {want}, {n} values");
}

fn check_folds(n: usize) {
    use crate::kernels::probe::values;
    let (mut x, y) = (values("x", n), values("y", n));
    let whole =
        |f: &dyn Fn(f64, f64) -> f64| x.iter().zip(&y).map(|(&x, &y)| f(x.into(), y.into())).sum::<f64>();
    let want = [
        whole(&|x, y| x + x * y),
        whole(&|x, _| (x - 0.5).powi(2)),
        whole(&|x, y| x * y),
        whole(&|x, y| x * y * (y - 0.5) * 2.0),
    ];
    let got = sums_of(&x, &y);
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    assert_eq!(maximum_of(&x), largest, "maximum of {n}");
    for (got, want) in got.iter().zip(want) {
        assert!(
            (f64::from(*got) - want).abs() <= 1e-5 * (n as f64).sqrt() * 3.0,
            "{got} for {want}, {n} values"
        );
    }
    for at in [0, n / 2, n - 1] {
        let before = std::mem::replace(&mut x[at], f32::NAN);
        assert!(maximum_of(&x).is_nan(), "the maximum of {n} values hides a NaN at {at}");
        x[at] = before;
    }
}

#[test]
fn folds_are_right_at_every_length_and_show_nan() {
    use crate::kernels::cpu::{Isa, force};
    for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
        force(isa);
        [1, 3, 15, 16, 17, 31, 32, 33, 48, 64, 100, 385].into_iter().for_each(|n| {
            check_folds(n);
            check_half_dot(n);
        });
    }
}
