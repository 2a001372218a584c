//! What an optimizer and an average of weights do to flat parameters.

use super::lanes::mul_add;
use super::split::{TASK, each_part, each_part2, each_part3};
use crate::kernels::adamw::Factors;
use rayon::prelude::*;

/// Σ x², accumulated in f64 over a fixed partition.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    if x.len() <= TASK {
        return squares(x);
    }
    let parts: Vec<f64> = x.par_chunks(TASK).map(squares).collect();
    parts.iter().sum()
}

/// Σ x² of each.
pub fn sums_of_squares(xs: &[&[f32]]) -> Vec<f64> {
    xs.iter().map(|x| sum_of_squares(x)).collect()
}

/// Whether no value is infinite or NaN.
pub fn all_finite(x: &[f32]) -> bool {
    if x.len() <= TASK { finite(x) } else { x.par_chunks(TASK).all(finite) }
}

/// One step of AdamW (Loshchilov and Hutter 2019) on p with gradient `grad_scale · g`; `step` counts from 1.
///
/// p -= lr · decay · p + lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + eps), in one rounding: the decay's factor 1 - lr · decay
/// would lose digits in f32.
///
/// An average of p follows it while p is in the cache, as [`lerp`] would move it.
pub fn adamw(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    lr: f64,
    decay: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    step: u64,
    grad_scale: f32,
    average: Option<&mut [f32]>,
    momentum: f64,
) {
    assert_eq!([g.len(), m.len(), v.len()], [p.len(); 3], "gradient and moments of a parameter");
    let factors = Factors::new(lr, decay, beta1, beta2, eps, step, grad_scale);
    let gradient = |i: usize, len: usize| &g[i * TASK..][..len];
    let Some(average) = average else {
        return each_part3((TASK, p), (TASK, m), (TASK, v), |i, p, m, v| {
            adamw_part(factors, p, gradient(i, p.len()), m, v);
        });
    };
    assert_eq!(average.len(), p.len(), "an average has the size of what it follows");
    let share = (1.0 - momentum) as f32;
    let mut parts: Vec<_> = p.chunks_mut(TASK).zip(m.chunks_mut(TASK)).zip(v.chunks_mut(TASK)).collect();
    each_part2((1, &mut parts), (TASK, average), |i, parts, average| {
        for ((p, m), v) in parts {
            adamw_part(factors, p, gradient(i, p.len()), m, v);
            lerp_part(average, p, share);
        }
    });
}

/// One step of SGD with momentum as PyTorch defines it: b = velocity · b + g + decay · p, p -= lr · b, with b 0 at first.
///
/// An average of p follows it as in [`adamw`].
pub fn sgd(
    p: &mut [f32],
    g: &[f32],
    b: &mut [f32],
    lr: f64,
    decay: f64,
    velocity: f64,
    grad_scale: f32,
    average: Option<&mut [f32]>,
    momentum: f64,
) {
    assert_eq!([g.len(), b.len()], [p.len(); 2], "gradient and velocity of a parameter");
    let (lr, decay, velocity) = (lr as f32, decay as f32, velocity as f32);
    let gradient = |i: usize, len: usize| &g[i * TASK..][..len];
    let Some(average) = average else {
        return each_part2((TASK, p), (TASK, b), |i, p, b| {
            sgd_part(lr, decay, velocity, grad_scale, p, gradient(i, p.len()), b);
        });
    };
    assert_eq!(average.len(), p.len(), "an average has the size of what it follows");
    let share = (1.0 - momentum) as f32;
    each_part3((TASK, p), (TASK, b), (TASK, average), |i, p, b, average| {
        sgd_part(lr, decay, velocity, grad_scale, p, gradient(i, p.len()), b);
        lerp_part(average, p, share);
    });
}

/// One step of LARS (You et al. 2017): [`sgd`] whose gradient and decay are scaled by the trust ratio
/// trust · |p| / |g + decay · p|, or by 1 where one of the two is 0.
pub fn lars(
    p: &mut [f32],
    g: &[f32],
    b: &mut [f32],
    lr: f64,
    decay: f64,
    velocity: f64,
    trust: f64,
    grad_scale: f32,
    average: Option<&mut [f32]>,
    momentum: f64,
) {
    let weights = sum_of_squares(p).sqrt();
    let moves = sum_of_decayed_squares(p, g, decay as f32, grad_scale).sqrt();
    let ratio = if weights > 0.0 && moves > 0.0 { trust * weights / moves } else { 1.0 };
    let grad_scale = (ratio * f64::from(grad_scale)) as f32;
    sgd(p, g, b, lr, ratio * decay, velocity, grad_scale, average, momentum);
}

/// Σ (scale · g + decay · p)², accumulated as [`sum_of_squares`] is.
fn sum_of_decayed_squares(p: &[f32], g: &[f32], decay: f32, scale: f32) -> f64 {
    assert_eq!(g.len(), p.len(), "gradient of a parameter");
    if p.len() <= TASK {
        return decayed_squares(p, g, decay, scale);
    }
    let parts = p.par_chunks(TASK).zip(g.par_chunks(TASK));
    let parts: Vec<f64> = parts.map(|(p, g)| decayed_squares(p, g, decay, scale)).collect();
    parts.iter().sum()
}

/// target = momentum · target + (1 - momentum) · source, as a step towards the source: equal weights stay equal.
pub fn lerp(target: &mut [f32], source: &[f32], momentum: f64) {
    assert_eq!(target.len(), source.len(), "an average has the size of what it follows");
    let share = (1.0 - momentum) as f32;
    each_part(TASK, target, |i, target| lerp_part(target, &source[i * TASK..][..target.len()], share));
}

/// y += a x.
pub fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
    assert_eq!(y.len(), x.len(), "a sum of slices of one length");
    each_part(TASK, y, |i, y| axpy_part(y, a, &x[i * TASK..][..y.len()]));
}

/// y *= a.
pub fn scale(y: &mut [f32], a: f32) {
    each_part(TASK, y, |_, y| scale_part(y, a));
}

vectorised! {
    fn squares<I>(x: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 32];
        let (blocks, rest) = x.as_chunks::<32>();
        // the square of an f32 is exact in f64
        for x in blocks {
            for l in 0..32 {
                lanes[l] += f64::from(x[l]) * f64::from(x[l]);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(*x) * f64::from(*x);
        }
        lanes.iter().sum()
    }

    fn finite<I>(x: &[f32]) -> bool {
        // all ones in the exponent mark infinities and NaN
        let worst = x.iter().fold(0u32, |worst, x| worst.max(x.to_bits() & 0x7f80_0000));
        worst != 0x7f80_0000
    }

    fn adamw_part<I>(f: Factors, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * f.grad;
            *m = mul_add::<I>(f.new1, g - *m, *m);
            *v = mul_add::<I>(f.new2, mul_add::<I>(g, g, -*v), *v);
            let direction = *m / mul_add::<I>(v.sqrt(), f.root, f.eps);
            *p -= mul_add::<I>(f.decay, *p, f.rate * direction);
        }
    }

    fn decayed_squares<I>(p: &[f32], g: &[f32], decay: f32, scale: f32) -> f64 {
        let mut lanes = [0.0f64; 32];
        let ((blocks, rest), (g_blocks, g_rest)) = (p.as_chunks::<32>(), g.as_chunks::<32>());
        let square = |p: f32, g: f32| {
            let moves = f64::from(mul_add::<I>(decay, p, g * scale));
            moves * moves
        };
        for (p, g) in blocks.iter().zip(g_blocks) {
            for l in 0..32 {
                lanes[l] += square(p[l], g[l]);
            }
        }
        for ((lane, p), g) in lanes.iter_mut().zip(rest).zip(g_rest) {
            *lane += square(*p, *g);
        }
        lanes.iter().sum()
    }

    fn sgd_part<I>(lr: f32, decay: f32, velocity: f32, scale: f32, p: &mut [f32], g: &[f32], b: &mut [f32]) {
        for ((p, g), b) in p.iter_mut().zip(g).zip(b) {
            let g = mul_add::<I>(decay, *p, g * scale);
            *b = mul_add::<I>(velocity, *b, g);
            *p = mul_add::<I>(-lr, *b, *p);
        }
    }

    fn lerp_part<I>(target: &mut [f32], source: &[f32], share: f32) {
        for (t, s) in target.iter_mut().zip(source) {
            *t = mul_add::<I>(share, s - *t, *t);
        }
    }

    fn axpy_part<I>(y: &mut [f32], a: f32, x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = mul_add::<I>(a, *x, *y);
        }
    }

    fn scale_part<I>(y: &mut [f32], a: f32) {
        for y in y {
            *y *= a;
        }
    }
}

#[cfg(test)]
mod tests;
