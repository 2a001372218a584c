//! The inner arithmetic that `vectorised!` bodies are made of: branch-free functions and sums in fixed lanes.

use super::vectors::{Vectors, WIDTH};
use half::bf16;
use std::f32::consts::LOG2_E;

mod gelu;

pub use gelu::{gelu, gelu_half, gelu_slope, gelu_slope_half};

/// `a * b + c`, in one rounding where the processor does that in one instruction.
#[inline(always)]
pub fn mul_add<I: Vectors>(a: f32, b: f32, c: f32) -> f32 {
    if I::FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// max(x, 0), NaN where x is.
#[inline(always)]
pub fn positive(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Applies a function to each lane.
#[inline(always)]
pub fn map<I: Vectors>(v: I::V, to: impl Fn(f32) -> f32) -> I::V {
    let mut lanes = [0.0; WIDTH];
    I::store(v, &mut lanes);
    lanes.iter_mut().for_each(|x| *x = to(*x));
    I::load(&lanes)
}

/// The vectors of a slice; the last is filled up with `pad`.
#[inline(always)]
fn last<I: Vectors>(rest: &[f32], pad: f32) -> I::V {
    let mut filled = [pad; WIDTH];
    filled[..rest.len()].copy_from_slice(rest);
    I::load(&filled)
}

/// Folds a slice into two vectors in turn and joins them. What `pad` stands for must not change a fold.
#[inline(always)]
pub fn fold<I: Vectors>(
    x: &[f32],
    pad: f32,
    start: f32,
    step: impl Fn(I::V, I::V) -> I::V,
    join: impl Fn(I::V, I::V) -> I::V,
) -> I::V {
    let mut sums = [I::splat(start); 2];
    let (pairs, rest) = x.as_chunks::<{ 2 * WIDTH }>();
    for pair in pairs {
        let (halves, _) = pair.as_chunks::<WIDTH>();
        sums[0] = step(sums[0], I::load(&halves[0]));
        sums[1] = step(sums[1], I::load(&halves[1]));
    }
    let (whole, rest) = rest.as_chunks::<WIDTH>();
    for x in whole {
        sums[0] = step(sums[0], I::load(x));
    }
    if !rest.is_empty() {
        sums[1] = step(sums[1], last::<I>(rest, pad));
    }
    join(sums[0], sums[1])
}

/// Sum of a slice.
#[inline(always)]
pub fn sum<I: Vectors>(x: &[f32]) -> f32 {
    I::total(fold::<I>(x, 0.0, 0.0, I::add, I::add))
}

/// Inner product of two slices of one length.
#[inline(always)]
pub fn dot<I: Vectors>(x: &[f32], y: &[f32]) -> f32 {
    let mut sums = [I::splat(0.0); 2];
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<{ 2 * WIDTH }>(), y.as_chunks::<{ 2 * WIDTH }>());
    for (x, y) in xs.iter().zip(ys) {
        let ((x, _), (y, _)) = (x.as_chunks::<WIDTH>(), y.as_chunks::<WIDTH>());
        sums[0] = I::mul_add(I::load(&x[0]), I::load(&y[0]), sums[0]);
        sums[1] = I::mul_add(I::load(&x[1]), I::load(&y[1]), sums[1]);
    }
    let ((xs, x_rest), (ys, y_rest)) = (x_rest.as_chunks::<WIDTH>(), y_rest.as_chunks::<WIDTH>());
    for (x, y) in xs.iter().zip(ys) {
        sums[0] = I::mul_add(I::load(x), I::load(y), sums[0]);
    }
    if !x_rest.is_empty() {
        sums[1] = I::mul_add(last::<I>(x_rest, 0.0), last::<I>(y_rest, 0.0), sums[1]);
    }
    I::total(I::add(sums[0], sums[1]))
}

/// The same of two slices of bf16.
#[inline(always)]
pub fn half_dot<I: Vectors>(x: &[bf16], y: &[bf16]) -> f32 {
    let mut sum = I::splat(0.0);
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<WIDTH>(), y.as_chunks::<WIDTH>());
    for (x, y) in xs.iter().zip(ys) {
        sum = I::mul_add(I::widen(x), I::widen(y), sum);
    }
    if !x_rest.is_empty() {
        let (mut x, mut y) = ([bf16::ZERO; WIDTH], [bf16::ZERO; WIDTH]);
        x[..x_rest.len()].copy_from_slice(x_rest);
        y[..y_rest.len()].copy_from_slice(y_rest);
        sum = I::mul_add(I::widen(&x), I::widen(&y), sum);
    }
    I::total(sum)
}

/// Σ (x - center)².
#[inline(always)]
pub fn squares_around<I: Vectors>(x: &[f32], center: f32) -> f32 {
    let middle = I::splat(center);
    let step = |sum, x| {
        let d = I::sub(x, middle);
        I::mul_add(d, d, sum)
    };
    I::total(fold::<I>(x, center, 0.0, step, I::add))
}

/// Σ dy·gain and Σ dy·gain·(x - m)·r.
#[inline(always)]
pub fn weighted_sums<I: Vectors>(dy: &[f32], x: &[f32], gain: &[f32], m: f32, r: f32) -> (f32, f32) {
    let zero = I::splat(0.0);
    let (m, r) = (I::splat(m), I::splat(r));
    let step = |(plain, along): (I::V, I::V), dy, x, gain| {
        let d = I::mul(dy, gain);
        (I::add(plain, d), I::mul_add(d, I::mul(I::sub(x, m), r), along))
    };
    let mut sums = (zero, zero);
    let ((dys, dy), (xs, x), (gains, gain)) =
        (dy.as_chunks::<WIDTH>(), x.as_chunks::<WIDTH>(), gain.as_chunks::<WIDTH>());
    for ((dy, x), gain) in dys.iter().zip(xs).zip(gains) {
        sums = step(sums, I::load(dy), I::load(x), I::load(gain));
    }
    if !dy.is_empty() {
        sums = step(sums, last::<I>(dy, 0.0), last::<I>(x, 0.0), last::<I>(gain, 0.0));
    }
    (I::total(sums.0), I::total(sums.1))
}

/// Largest value, NaN when there is one among them (`f32::max` would hide it).
#[inline(always)]
pub fn maximum<I: Vectors>(x: &[f32]) -> f32 {
    I::largest(fold::<I>(x, f32::NEG_INFINITY, f32::NEG_INFINITY, I::larger, I::larger))
}

/// The larger of two numbers, NaN when either is.
#[inline(always)]
pub fn larger(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

/// Added and subtracted, it rounds to an integer, which stands in the sum's low bits.
const ROUND: f32 = 12_582_912.0;

/// e^x within 1 ulp or so for x <= 0, as softmax and the normal density need it; 0 below -86.6, NaN for NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2: e^r by a minimax polynomial (relative error 3e-9), 2^n through the exponent's bits.
#[inline(always)]
pub fn exp_negative<I: Vectors>(x: f32) -> f32 {
    const LOWEST: f32 = -86.6;
    // ln 2 in two parts, the first with few enough bits for n * LN_2_HIGH to be exact
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    // this way round because NaN has to come through the comparison
    let inside = if x < LOWEST { LOWEST } else { x };
    let shifted = mul_add::<I>(inside, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<I>(n, -LN_2_LOW, mul_add::<I>(n, -LN_2_HIGH, inside));
    let mut p = 0.001_381_462_7;
    p = mul_add::<I>(p, r, 0.008_368_71);
    p = mul_add::<I>(p, r, 0.041_668_387);
    p = mul_add::<I>(p, r, 0.166_665_21);
    p = mul_add::<I>(p, r, 0.499_999_93);
    let y = mul_add::<I>(p, r * r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < LOWEST { 0.0 } else { y * power }
}

#[cfg(test)]
mod tests;
