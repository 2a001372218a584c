//! GELU, x Φ(x) (Hendrycks and Gimpel 2016), and its derivative: right to f32's rounding, and in half the time for what is
//! stored as bf16. Both are the exact function, not its approximation by tanh.

use super::{ROUND, exp_negative, mul_add};
use crate::kernels::cpu::vectors::Vectors;

/// The normal distribution's function and density at x: Φ(x) = (1 + erf(x / √2)) / 2 and φ(x) = e^(-x²/2) / √(2π).
///
/// Φ(-|x|) = e^(-x²/2) · Q(|x|), where Q is smooth: nine terms in t = 1 / (1 + 0.35 |x|), relative error 3e-8, so that
/// the lower tail keeps its relative accuracy, which 1 + erf would lose.
#[inline(always)]
fn normal<I: Vectors>(x: f32) -> (f32, f32) {
    const DENSITY_AT_0: f32 = 0.398_942_3;
    let t = 1.0 / mul_add::<I>(0.35, x.abs(), 1.0);
    let mut q = -0.029_125_84;
    q = mul_add::<I>(q, t, 0.143_872_15);
    q = mul_add::<I>(q, t, -0.255_504_47);
    q = mul_add::<I>(q, t, 0.158_929_26);
    q = mul_add::<I>(q, t, -0.022_937_165);
    q = mul_add::<I>(q, t, 0.105_432_96);
    q = mul_add::<I>(q, t, 0.119_852_43);
    q = mul_add::<I>(q, t, 0.139_859_08);
    q = mul_add::<I>(q, t, 0.139_621_57);
    let bell = exp_negative::<I>(-0.5 * x * x);
    let tail = bell * (q * t);
    (if x > 0.0 { 1.0 - tail } else { tail }, DENSITY_AT_0 * bell)
}

/// GELU, the exact one: x Φ(x) (Hendrycks and Gimpel 2016).
#[inline(always)]
pub fn gelu<I: Vectors>(x: f32) -> f32 {
    x * normal::<I>(x).0
}

/// The derivative of GELU: Φ(x) + x φ(x).
#[inline(always)]
pub fn gelu_slope<I: Vectors>(x: f32) -> f32 {
    let (below, density) = normal::<I>(x);
    mul_add::<I>(x, density, below)
}

/// Where the approximations for bf16 end: Φ(-6.5) is 4e-11, and what is beyond is taken for it.
const DEEPEST: f32 = 6.5;

/// A polynomial of degree 6 as sums of pairs, which wait for each other half as long as one product after the other.
#[inline(always)]
fn sextic<I: Vectors>(a: f32, [c0, c1, c2, c3, c4, c5, c6]: [f32; 7]) -> f32 {
    let square = a * a;
    let low = mul_add::<I>(mul_add::<I>(c3, a, c2), square, mul_add::<I>(c1, a, c0));
    let high = mul_add::<I>(c6, square, mul_add::<I>(c5, a, c4));
    mul_add::<I>(high, square * square, low)
}

/// Φ(-a) for a from 0 to `DEEPEST`, with a relative error below 8e-5: log2 Φ(-a) is nearly a parabola, here of degree 6, and its
/// power of two needs neither a division nor a second exponential.
#[inline(always)]
fn tail_half<I: Vectors>(a: f32) -> f32 {
    const LOG: [f32; 7] = [
        -1.000_106_3,
        -1.149_621_6,
        -0.462_453_75,
        -0.050_272_636,
        0.006_880_629,
        -0.000_561_506_1,
        2.008_577_6e-5,
    ];
    let log = sextic::<I>(a, LOG);
    let shifted = log + ROUND;
    let r = log - (shifted - ROUND);
    let square = r * r;
    let high = mul_add::<I>(0.009_570_105, square, mul_add::<I>(0.055_917_87, r, 0.240_247_44));
    let p = mul_add::<I>(high, square, mul_add::<I>(0.693_121_8, r, 0.999_999_3));
    // the integer is added to the exponent
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// |x|, at most `DEEPEST`; NaN for NaN.
#[inline(always)]
fn depth(x: f32) -> f32 {
    let a = x.abs();
    if a > DEEPEST { DEEPEST } else { a }
}

/// GELU for bf16: within 2^-13 of itself (a sixteenth of half a step of bf16) and 3e-10.
#[inline(always)]
pub fn gelu_half<I: Vectors>(x: f32) -> f32 {
    // x Φ(x) is max(x, 0) - |x| Φ(-|x|) on either side
    let a = depth(x);
    mul_add::<I>(-a, tail_half::<I>(a), if x > 0.0 { x } else { 0.0 })
}

/// The derivative of GELU for bf16: within 2^-12 of itself (an eighth of half a step), 1e-5 around its root and 2e-9 beyond
/// `DEEPEST`.
///
/// Φ(-a) - a φ(a) is Φ(-a) times 1 - a φ(a) / Φ(-a), which is nearly a parabola too.
#[inline(always)]
pub fn gelu_slope_half<I: Vectors>(x: f32) -> f32 {
    const PART: [f32; 7] = [
        0.999_900_76,
        -0.796_306_7,
        -0.641_066_8,
        -0.105_122_84,
        0.019_375_225,
        -0.001_997_737_2,
        8.644_889e-5,
    ];
    let a = depth(x);
    let below = tail_half::<I>(a) * sextic::<I>(a, PART);
    if x > 0.0 { 1.0 - below } else { below }
}
