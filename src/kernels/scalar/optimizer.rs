//! Optimizer steps and averages, slowly.

/// Σ x².
pub fn sum_of_squares(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x).powi(2)).sum()
}

/// Whether no value is infinite or NaN.
pub fn all_finite(x: &[f32]) -> bool {
    x.iter().all(|x| x.is_finite())
}

/// One step of AdamW in the order PyTorch documents; `step` counts from 1.
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
    for i in 0..p.len() {
        let gradient = f64::from(g[i]) * f64::from(grad_scale);
        let decayed = f64::from(p[i]) * (1.0 - lr * decay);
        let first = beta1 * f64::from(m[i]) + (1.0 - beta1) * gradient;
        let second = beta2 * f64::from(v[i]) + (1.0 - beta2) * gradient * gradient;
        let first_unbiased = first / (1.0 - beta1.powf(step as f64));
        let second_unbiased = second / (1.0 - beta2.powf(step as f64));
        p[i] = (decayed - lr * first_unbiased / (second_unbiased.sqrt() + eps)) as f32;
        (m[i], v[i]) = (first as f32, second as f32);
    }
    if let Some(average) = average {
        lerp(average, p, momentum);
    }
}

/// One step of SGD with momentum.
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
    for i in 0..p.len() {
        let gradient = f64::from(g[i]) * f64::from(grad_scale) + decay * f64::from(p[i]);
        let moving = velocity * f64::from(b[i]) + gradient;
        (p[i], b[i]) = ((f64::from(p[i]) - lr * moving) as f32, moving as f32);
    }
    if let Some(average) = average {
        lerp(average, p, momentum);
    }
}

/// One step of LARS: the decayed gradient takes the length trust · |p|.
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
    let decayed = |(g, p): (&f32, &f32)| f64::from(*g) * f64::from(grad_scale) + decay * f64::from(*p);
    let mut gradient: Vec<f64> = g.iter().zip(p.iter()).map(decayed).collect();
    let length = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let (weights, moves) =
        (length(&mut p.iter().map(|&p| f64::from(p))), length(&mut gradient.iter().copied()));
    if weights > 0.0 && moves > 0.0 {
        gradient.iter_mut().for_each(|g| *g *= trust * weights / moves);
    }
    for i in 0..p.len() {
        let moving = velocity * f64::from(b[i]) + gradient[i];
        (p[i], b[i]) = ((f64::from(p[i]) - lr * moving) as f32, moving as f32);
    }
    if let Some(average) = average {
        lerp(average, p, momentum);
    }
}

/// target = momentum · target + (1 - momentum) · source.
pub fn lerp(target: &mut [f32], source: &[f32], momentum: f64) {
    for (t, s) in target.iter_mut().zip(source) {
        *t = (momentum * f64::from(*t) + (1.0 - momentum) * f64::from(*s)) as f32;
    }
}

/// y += a x.
pub fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = (f64::from(*y) + f64::from(a) * f64::from(*x)) as f32;
    }
}

/// y *= a.
pub fn scale(y: &mut [f32], a: f32) {
    y.iter_mut().for_each(|y| *y *= a);
}
