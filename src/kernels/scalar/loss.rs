//! DINO's loss and its targets, slowly.

fn softmax(z: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let max = z.clone().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = z.clone().map(|z| (z - max).exp()).sum();
    z.map(|z| (z - max).exp() / total).collect()
}

/// targets = softmax((logits - center) / temperature), and each row's entropy in nats.
pub fn centered_softmax(
    rows: usize,
    k: usize,
    logits: &[f32],
    center: Option<&[f32]>,
    temperature: f32,
    targets: &mut [f32],
    entropy: &mut [f32],
) {
    for r in 0..rows {
        let z = |i| {
            (f64::from(logits[r * k + i]) - center.map_or(0.0, |c| f64::from(c[i]))) / f64::from(temperature)
        };
        let p = softmax((0..k).map(z));
        entropy[r] = p.iter().map(|&p| if p == 0.0 { 0.0 } else { -p * p.ln() }).sum::<f64>() as f32;
        p.into_iter().enumerate().for_each(|(i, p)| targets[r * k + i] = p as f32);
    }
}

/// The sum over pairs and rows of -Σ q · log softmax(s / temperature), times `weight`, and its gradient.
pub fn cross_entropy(
    globals: usize,
    views: usize,
    batch: usize,
    k: usize,
    student: &[f32],
    targets: &[f32],
    temperature: f32,
    weight: f32,
    dstudent: &mut [f32],
) -> f64 {
    let mut loss = 0.0;
    dstudent.fill(0.0);
    for teacher in 0..globals {
        for view in (0..views).filter(|&v| v != teacher) {
            for b in 0..batch {
                let (s, q) = ((view * batch + b) * k, (teacher * batch + b) * k);
                let p = softmax((0..k).map(|i| f64::from(student[s + i]) / f64::from(temperature)));
                let mass: f64 = (0..k).map(|i| f64::from(targets[q + i])).sum();
                for i in 0..k {
                    let q = f64::from(targets[q + i]);
                    loss -= if q == 0.0 { 0.0 } else { q * p[i].ln() };
                    let d = (mass * p[i] - q) / f64::from(temperature) * f64::from(weight);
                    dstudent[s + i] += d as f32;
                }
            }
        }
    }
    loss * f64::from(weight)
}

/// The sum over pairs and rows of ‖s - t‖², times `weight`, and its gradient.
pub fn squared_distances(
    globals: usize,
    views: usize,
    batch: usize,
    k: usize,
    student: &[f32],
    teacher: &[f32],
    weight: f32,
    dstudent: &mut [f32],
) -> f64 {
    let mut loss = 0.0;
    dstudent.fill(0.0);
    for global in 0..globals {
        for view in (0..views).filter(|&v| v != global) {
            for i in 0..batch * k {
                let apart =
                    f64::from(student[view * batch * k + i]) - f64::from(teacher[global * batch * k + i]);
                loss += apart * apart;
                dstudent[view * batch * k + i] += (2.0 * apart * f64::from(weight)) as f32;
            }
        }
    }
    loss * f64::from(weight)
}

/// The sum over pairs and rows of -log softmax((s·t, s·n…) / temperature) at the positive, times `weight`, and its gradient.
pub fn info_nce(
    globals: usize,
    views: usize,
    batch: usize,
    k: usize,
    negatives: usize,
    student: &[f32],
    teacher: &[f32],
    queue: &[f32],
    temperature: f32,
    weight: f32,
    dstudent: &mut [f32],
) -> f64 {
    let temperature = f64::from(temperature);
    let product =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    let mut loss = 0.0;
    dstudent.fill(0.0);
    for global in 0..globals {
        for view in (0..views).filter(|&v| v != global) {
            for b in 0..batch {
                let at = (view * batch + b) * k;
                let s = &student[at..at + k];
                let mut others = vec![&teacher[(global * batch + b) * k..][..k]];
                others.extend((0..negatives).map(|n| &queue[n * k..(n + 1) * k]));
                let z: Vec<f64> = others.iter().map(|other| product(s, other) / temperature).collect();
                let p = softmax(z.into_iter());
                loss -= p[0].ln();
                for i in 0..k {
                    let pulled: f64 = p.iter().zip(&others).map(|(p, other)| p * f64::from(other[i])).sum();
                    let d = (pulled - f64::from(others[0][i])) / temperature * f64::from(weight);
                    dstudent[at + i] += d as f32;
                }
            }
        }
    }
    loss * f64::from(weight)
}

/// Lays rows on the queue's places from `next` on, around its end.
pub fn enqueue(next: usize, length: usize, k: usize, rows: &[f32], queue: &mut [f32]) {
    for (i, x) in rows.iter().enumerate() {
        queue[(next + i / k) % length * k + i % k] = *x;
    }
}

/// Σ over groups of -mean log(‖x - nearest(x) + ε‖ + ε), and its gradient times `weight`.
pub fn koleo(groups: usize, rows: usize, dim: usize, x: &[f32], weight: f32, dx: &mut [f32]) -> f64 {
    const EPS: f64 = 1e-8;
    let number = |row: usize, i: usize| f64::from(x[row * dim + i]);
    let mut loss = 0.0;
    dx.fill(0.0);
    for first in (0..groups).map(|group| group * rows) {
        for own in first..first + rows {
            let product = |other: usize| (0..dim).map(|i| number(own, i) * number(other, i)).sum::<f64>();
            let mut nearest = if own == first { first + 1 } else { first };
            for other in (first..first + rows).filter(|&other| other != own) {
                if product(other) > product(nearest) {
                    nearest = other;
                }
            }
            let apart = |i: usize| number(own, i) - number(nearest, i) + EPS;
            let distance = (0..dim).map(|i| apart(i).powi(2)).sum::<f64>().sqrt();
            loss -= (distance + EPS).ln() / rows as f64;
            for i in 0..dim {
                let d = -f64::from(weight) / rows as f64 / (distance + EPS) * apart(i) / distance;
                dx[own * dim + i] += d as f32;
                dx[nearest * dim + i] -= d as f32;
            }
        }
    }
    loss
}

/// mean (k) of the rows of x.
pub fn column_mean(rows: usize, k: usize, x: &[f32], mean: &mut [f32]) {
    for i in 0..k {
        mean[i] = ((0..rows).map(|r| f64::from(x[r * k + i])).sum::<f64>() / rows as f64) as f32;
    }
}

/// Entropy in nats of the mean of the targets' rows.
pub fn entropy_of_mean(rows: usize, k: usize, targets: &[f32]) -> f64 {
    let mut mean = vec![0.0; k];
    column_mean(rows, k, targets, &mut mean);
    mean.iter().map(|&p| f64::from(p)).filter(|&p| p != 0.0).map(|p| -p * p.ln()).sum()
}

/// y = logits - center.
pub fn centered(rows: usize, k: usize, logits: &[f32], center: &[f32], y: &mut [f32]) {
    for i in 0..rows * k {
        y[i] = logits[i] - center[i % k];
    }
}

/// Sinkhorn-Knopp: each group's matrix normalised in place, as it is written down; and each row's entropy in nats.
pub fn sinkhorn(
    groups: usize,
    rows: usize,
    k: usize,
    iterations: usize,
    temperature: f32,
    logits: &[f32],
    targets: &mut [f32],
    entropy: &mut [f32],
) {
    for g in 0..groups {
        let logits = &logits[g * rows * k..][..rows * k];
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut q: Vec<f64> =
            logits.iter().map(|&l| (f64::from(l - max) / f64::from(temperature)).exp()).collect();
        for _ in 0..iterations {
            for c in 0..k {
                let total: f64 = (0..rows).map(|r| q[r * k + c]).sum();
                (0..rows).for_each(|r| q[r * k + c] /= total * k as f64);
            }
            for row in q.chunks_mut(k) {
                let total: f64 = row.iter().sum();
                row.iter_mut().for_each(|q| *q /= total * rows as f64);
            }
        }
        for (r, row) in q.chunks(k).enumerate() {
            let p = row.iter().map(|q| q * rows as f64);
            entropy[g * rows + r] =
                p.clone().map(|p| if p == 0.0 { 0.0 } else { -p * p.ln() }).sum::<f64>() as f32;
            p.enumerate().for_each(|(c, p)| targets[(g * rows + r) * k + c] = p as f32);
        }
    }
}
