//! What an optimizer and an average of weights do to flat parameters.

use std::ffi::c_void;

use dfdx::prelude::CudaError;

use super::gpu::Gpu;
use super::kept::{Renewal, renewal};
use super::launch::{Argument, Given, Launch, Pointer, launch};
use super::view::{Kind, View, ViewMut};
use crate::kernels::adamw::Factors;

mod lists;
#[cfg(test)]
pub(super) mod placed;
pub(super) mod room;
#[cfg(test)]
mod tests;

use lists::STRETCH;
pub use lists::{each_finite, sums_of_squares};
use room::Room;

/// Threads of a block, each with four numbers where numbers are mapped.
const THREADS: u32 = 256;

fn fours(len: usize) -> Launch {
    Launch::each(len.div_ceil(4), THREADS)
}

/// Σ x², accumulated in f64 over a fixed partition.
pub fn sum_of_squares(gpu: &Gpu, x: View<'_>) -> Result<f64, CudaError> {
    Ok(sums_of_squares(gpu, &[x])?.into_iter().sum())
}

/// Whether no value is infinite or NaN.
pub fn all_finite(gpu: &Gpu, x: View<'_>) -> Result<bool, CudaError> {
    Ok(each_finite(gpu, &[x])?.into_iter().all(|finite| finite))
}

// SAFETY: laid out as C lays it out, with the kernel's own types
unsafe impl Argument for Factors {
    fn place(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

impl Given for Factors {
    type Taken = Factors;
    fn given(&self) -> Factors {
        *self
    }
}

fn assert_followed(average: Option<&ViewMut<'_>>, p: &ViewMut<'_>) {
    assert!(average.is_none_or(|a| a.len() == p.len()), "an average has the size of what it follows");
}

/// One step of AdamW on p with gradient `grad_scale · g`, by the CPU's formula and roundings; `step` counts from 1. An average of p
/// follows it in the same pass, and so does what products are given of either in 16 bits, where some were ([`renewal`]).
pub fn adamw(
    gpu: &Gpu,
    p: ViewMut<'_>,
    g: View<'_>,
    m: ViewMut<'_>,
    v: ViewMut<'_>,
    lr: f64,
    decay: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    step: u64,
    grad_scale: f32,
    average: Option<ViewMut<'_>>,
    momentum: f64,
) -> Result<(), CudaError> {
    assert_eq!([g.len(), m.len(), v.len()], [p.len(); 3], "gradient and moments of a parameter");
    assert_followed(average.as_ref(), &p);
    let factors = Factors::new(lr, decay, beta1, beta2, eps, step, grad_scale);
    let (len, share) = (p.len() as i64, (1.0 - momentum) as f32);
    let of = |kind| [Some(&p), average.as_ref()].map(|w| w.and_then(|w| renewal(gpu, kind, w)));
    let kinds = [("optimizer_adamw_bf16", Kind::Bf16), ("optimizer_adamw_f16", Kind::F16)];
    let mut found = kinds.into_iter().map(|(kernel, kind)| (kernel, of(kind)));
    let in_use = found.find(|(_, rounded)| rounded.iter().any(Option::is_some));
    let (kernel, mut rounded) = in_use.unwrap_or(("optimizer_adamw_f32", [None, None]));
    let [to, to_average] = rounded.each_mut().map(|rounded| rounded.as_mut().map(Renewal::any_mut));
    launch!(gpu, kernel, fours(p.len()); len, factors, p, g, m, v, average, share, to, to_average)?;
    rounded.into_iter().flatten().for_each(|rounded| rounded.done(gpu));
    Ok(())
}

/// One step of SGD with momentum as PyTorch defines it: b = velocity · b + g + decay · p, p -= lr · b, with b 0 at first. An average of p
/// follows it in the same pass.
pub fn sgd(
    gpu: &Gpu,
    p: ViewMut<'_>,
    g: View<'_>,
    b: ViewMut<'_>,
    lr: f64,
    decay: f64,
    velocity: f64,
    grad_scale: f32,
    average: Option<ViewMut<'_>>,
    momentum: f64,
) -> Result<(), CudaError> {
    let scale = Scale::Known { grad: grad_scale, decay: decay as f32 };
    step(gpu, p, g, b, lr, velocity, scale, average, momentum)
}

/// What a gradient is scaled by, and how much of the weights is added to it.
enum Scale {
    Known {
        grad: f32,
        decay: f32,
    },
    /// Both stand on the GPU.
    Found(Pointer),
}

fn step(
    gpu: &Gpu,
    p: ViewMut<'_>,
    g: View<'_>,
    b: ViewMut<'_>,
    lr: f64,
    velocity: f64,
    scale: Scale,
    average: Option<ViewMut<'_>>,
    momentum: f64,
) -> Result<(), CudaError> {
    assert_eq!([g.len(), b.len()], [p.len(); 2], "gradient and velocity of a parameter");
    assert_followed(average.as_ref(), &p);
    let (grad, decay, found) = match scale {
        Scale::Known { grad, decay } => (grad, decay, Pointer(0)),
        Scale::Found(found) => (0.0, 0.0, found),
    };
    let (len, lr, velocity, share) = (p.len() as i64, lr as f32, velocity as f32, (1.0 - momentum) as f32);
    launch!(gpu, "optimizer_sgd", fours(p.len()); len, lr, decay, velocity, grad, found, p, g, b, average, share)
}

/// One step of LARS: [`sgd`] whose gradient and decay are scaled by the trust ratio trust · |p| / |g + decay · p|, or by 1 where one of the
/// two is 0. The host doesn't learn it.
pub fn lars(
    gpu: &Gpu,
    p: ViewMut<'_>,
    g: View<'_>,
    b: ViewMut<'_>,
    lr: f64,
    decay: f64,
    velocity: f64,
    trust: f64,
    grad_scale: f32,
    average: Option<ViewMut<'_>>,
    momentum: f64,
) -> Result<(), CudaError> {
    assert_eq!(g.len(), p.len(), "gradient of a parameter");
    let (len, blocks) = (p.len() as i64, p.len().div_ceil(STRETCH));
    let parts = Room::<f64>::unwritten(gpu, 2 * blocks)?;
    let launch = Launch::blocks(blocks, THREADS);
    launch!(gpu, "optimizer_lars_squares", launch; len, decay as f32, grad_scale, p.as_view(), g, parts)?;
    let found = gpu.unwritten(Kind::F32, 2)?;
    let launch = Launch::blocks(1, THREADS);
    launch!(gpu, "optimizer_lars_ratio", launch; blocks as i32, parts, trust, decay, grad_scale, found)?;
    let scale = Scale::Found(Pointer(found.view().pointer()));
    step(gpu, p, g, b, lr, velocity, scale, average, momentum)
}

/// target = momentum · target + (1 - momentum) · source, as a step towards the source: equal weights stay equal.
pub fn lerp(gpu: &Gpu, target: ViewMut<'_>, source: View<'_>, momentum: f64) -> Result<(), CudaError> {
    assert_eq!(target.len(), source.len(), "an average has the size of what it follows");
    let (len, share) = (target.len() as i64, (1.0 - momentum) as f32);
    launch!(gpu, "optimizer_lerp", fours(target.len()); len, share, source, target)
}

/// y += a x.
pub fn axpy(gpu: &Gpu, y: ViewMut<'_>, a: f32, x: View<'_>) -> Result<(), CudaError> {
    assert_eq!(y.len(), x.len(), "a sum of arrays of one length");
    launch!(gpu, "optimizer_axpy", fours(y.len()); y.len() as i64, a, x, y)
}
