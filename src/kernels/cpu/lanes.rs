//! The inner arithmetic that `vectorised!` bodies are made of: branch-free functions and sums in fixed lanes.

use std::f32::consts::LOG2_E;

/// Partial sums a reduction keeps: two AVX-512 registers. Fixed, so that every instruction set adds in one order.
pub const LANES: usize = 32;

/// `a * b + c`, in one rounding where the processor does that in one instruction.
#[inline(always)]
pub fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Folds a slice into `LANES` accumulators and joins these pairwise.
#[inline(always)]
pub fn fold(x: &[f32], start: f32, step: impl Fn(f32, f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &v) in lanes.iter_mut().zip(block) {
            *lane = step(*lane, v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, v);
    }
    halve(lanes, join)
}

/// The same over the pairs of two slices of one length.
#[inline(always)]
pub fn fold_pairs(
    x: &[f32],
    y: &[f32],
    start: f32,
    step: impl Fn(f32, f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut lanes = [start; LANES];
    let (x_blocks, x_rest) = x.as_chunks::<LANES>();
    let (y_blocks, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for l in 0..LANES {
            lanes[l] = step(lanes[l], x[l], y[l]);
        }
    }
    for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane = step(*lane, x, y);
    }
    halve(lanes, join)
}

/// Joins lanes pairwise.
#[inline(always)]
pub fn halve(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            lanes[l] = join(lanes[l], lanes[l + width]);
        }
    }
    lanes[0]
}

/// Sum of a slice.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    fold(x, 0.0, |a, v| a + v, |a, b| a + b)
}

/// Inner product of two slices.
#[inline(always)]
pub fn dot<const FUSED: bool>(x: &[f32], y: &[f32]) -> f32 {
    fold_pairs(x, y, 0.0, |a, x, y| mul_add::<FUSED>(x, y, a), |a, b| a + b)
}

/// Largest value, NaN when there is one among them (`f32::max` would hide it).
#[inline(always)]
pub fn maximum(x: &[f32]) -> f32 {
    fold(x, f32::NEG_INFINITY, larger, larger)
}

/// The larger of two numbers, NaN when either is.
#[inline(always)]
pub fn larger(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

/// e^x within 1 ulp or so; 0 below -86.6, infinite above 88.7, NaN for NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by a minimax polynomial (relative error 3e-9), 2^n through the exponent's bits.
#[inline(always)]
pub fn exp<const FUSED: bool>(x: f32) -> f32 {
    // ln 2 in two parts, the first with few enough bits for n * LN_2_HIGH to be exact
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    // added and subtracted, it rounds to an integer, which stands in the sum's low bits
    const ROUND: f32 = 12_582_912.0;
    const LOWEST: f32 = -86.6;
    const HIGHEST: f32 = 88.722_83;
    // comparisons are this way round because NaN has to come through them
    let inside = if x < LOWEST { LOWEST } else { x };
    let inside = if inside > HIGHEST { HIGHEST } else { inside };
    let shifted = mul_add::<FUSED>(inside, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FUSED>(n, -LN_2_LOW, mul_add::<FUSED>(n, -LN_2_HIGH, inside));
    let mut p = 0.001_381_462_7;
    p = mul_add::<FUSED>(p, r, 0.008_368_71);
    p = mul_add::<FUSED>(p, r, 0.041_668_387);
    p = mul_add::<FUSED>(p, r, 0.166_665_21);
    p = mul_add::<FUSED>(p, r, 0.499_999_93);
    p = mul_add::<FUSED>(p, r * r, r) + 1.0;
    // 2^(n-1), since 2^128 is not a number yet e^88.7 is one
    let half = f32::from_bits((shifted.to_bits() << 23).wrapping_add(126 << 23));
    let y = p * half * 2.0;
    let y = if x < LOWEST { 0.0 } else { y };
    if x > HIGHEST { f32::INFINITY } else { y }
}

/// The normal distribution's function and density at x: Φ(x) = (1 + erf(x / √2)) / 2 and φ(x) = e^(-x²/2) / √(2π).
///
/// Φ(-|x|) = e^(-x²/2) · Q(|x|), where Q is smooth: nine terms in t = 1 / (1 + 0.35 |x|), relative error 3e-8, so that
/// the lower tail keeps its relative accuracy, which 1 + erf would lose.
#[inline(always)]
pub fn normal<const FUSED: bool>(x: f32) -> (f32, f32) {
    const DENSITY_AT_0: f32 = 0.398_942_3;
    let t = 1.0 / mul_add::<FUSED>(0.35, x.abs(), 1.0);
    let mut q = -0.029_125_84;
    q = mul_add::<FUSED>(q, t, 0.143_872_15);
    q = mul_add::<FUSED>(q, t, -0.255_504_47);
    q = mul_add::<FUSED>(q, t, 0.158_929_26);
    q = mul_add::<FUSED>(q, t, -0.022_937_165);
    q = mul_add::<FUSED>(q, t, 0.105_432_96);
    q = mul_add::<FUSED>(q, t, 0.119_852_43);
    q = mul_add::<FUSED>(q, t, 0.139_859_08);
    q = mul_add::<FUSED>(q, t, 0.139_621_57);
    let bell = exp::<FUSED>(-0.5 * x * x);
    let tail = bell * (q * t);
    (if x > 0.0 { 1.0 - tail } else { tail }, DENSITY_AT_0 * bell)
}

/// GELU, the exact one: x Φ(x) (Hendrycks and Gimpel 2016).
#[inline(always)]
pub fn gelu<const FUSED: bool>(x: f32) -> f32 {
    // an infinite density argument would give 0 * inf; far out the function is 0 or x anyway
    x * normal::<FUSED>(x).0
}

/// The derivative of GELU: Φ(x) + x φ(x).
#[inline(always)]
pub fn gelu_slope<const FUSED: bool>(x: f32) -> f32 {
    let (below, density) = normal::<FUSED>(x);
    mul_add::<FUSED>(x, density, below)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(
                (got - want).abs() <= relative * want.abs() + absolute,
                "{name}({x}) = {got}, not {want}"
            );
        }
    }

    #[test]
    fn exp_is_right_to_rounding() {
        for f in [exp::<true>, exp::<false>] {
            check("exp", (-86_500..88_700).map(|i| i as f32 * 1e-3), f, f64::exp, 1.5e-7, 0.0);
            assert_eq!([f(0.0), f(-90.0), f(f32::NEG_INFINITY), f(89.0)], [1.0, 0.0, 0.0, f32::INFINITY]);
            assert!(f(f32::NAN).is_nan());
        }
    }

    #[test]
    fn gelu_is_right_to_rounding_and_keeps_nan() {
        let points = || (-9_000..9_000).map(|i| i as f32 * 1e-3);
        let cdf = |x: f64| crate::kernels::scalar::linear::normal_cdf(x);
        let slope = |x: f64| cdf(x) + x * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        for (f, d) in [
            (gelu::<true> as fn(f32) -> f32, gelu_slope::<true> as fn(f32) -> f32),
            (gelu::<false>, gelu_slope::<false>),
        ] {
            check("gelu", points(), f, |x| x * cdf(x), 4e-7, 2e-9);
            check("gelu'", points(), d, slope, 2e-7, 2e-7);
            assert!(f(f32::NAN).is_nan() && d(f32::NAN).is_nan());
            assert_eq!([f(-40.0), f(40.0), f(0.0), d(-40.0), d(40.0)], [0.0, 40.0, 0.0, 0.0, 1.0]);
        }
    }
}
