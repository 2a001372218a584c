use super::*;
use crate::kernels::cuda::optimizer::placed::Placed;
use crate::kernels::cuda::probe::{self, near};
use crate::kernels::probe::{distributions, poison, values};
use crate::kernels::{cpu, scalar};

/// Runs a kernel and its twin, whose `outputs` (sizes) are overwritten, the kernel on memory on and off boundaries of four.
#[track_caller]
fn check<const N: usize>(
    what: &str,
    tolerance: f64,
    gpu: &Gpu,
    outputs: [usize; N],
    fast: impl Fn([ViewMut<'_>; N]) -> f64,
    slow: impl Fn(&mut [Vec<f32>; N]) -> f64,
) {
    let mut want = outputs.map(poison);
    let loss = slow(&mut want);
    for shift in [0, 1] {
        let mut made = outputs.map(|len| Placed::poisoned(gpu, shift, len));
        let found = fast(made.each_mut().map(Placed::view_mut));
        near(&format!("what {what} returns"), tolerance, &[found as f32], &[loss as f32]);
        for (i, (made, want)) in made.iter().zip(&want).enumerate() {
            near(&format!("output {i} of {what}"), tolerance, &made.taken(gpu), want);
        }
    }
}

fn check_targets(gpu: &Gpu, rows: usize, k: usize, temperature: f32) {
    let (logits, center) = (values("teacher", rows * k), values("center", k));
    let [lent, lent_center] = [&logits, &center].map(|x| probe::lent(gpu, x));
    // a sharper temperature magnifies the rounding of logits minus centre
    let tolerance = 2e-6 / f64::from(temperature);
    for (c, lent_c) in [(None, None), (Some(&center[..]), Some(lent_center.view()))] {
        let run = |[t, e]: [ViewMut<'_>; 2]| {
            centered_softmax(gpu, rows, k, lent.view(), lent_c, temperature, t, e).unwrap();
            0.0
        };
        check("centered_softmax", tolerance, gpu, [rows * k, rows], run, |[t, e]| {
            scalar::loss::centered_softmax(rows, k, &logits, c, temperature, t, e);
            0.0
        });
    }
}

fn check_columns(gpu: &Gpu, rows: usize, k: usize) {
    let (logits, center, targets) =
        (values("teacher", rows * k), values("center", k), distributions("q", rows, k));
    let [lent, lent_center, lent_targets] = [&logits, &center, &targets].map(|x| Placed::new(gpu, 0, x));
    let off = Placed::new(gpu, 1, &logits);
    for lent in [&lent, &off] {
        let mean = |[m]: [ViewMut<'_>; 1]| {
            column_mean(gpu, rows, k, lent.view(), m).unwrap();
            entropy_of_mean(gpu, rows, k, lent_targets.view()).unwrap()
        };
        check("column_mean", 1e-6, gpu, [k], mean, |[m]| {
            scalar::loss::column_mean(rows, k, &logits, m);
            scalar::loss::entropy_of_mean(rows, k, &targets)
        });
    }
    let difference = |[y]: [ViewMut<'_>; 1]| {
        centered(gpu, rows, k, lent.view(), lent_center.view(), y).unwrap();
        0.0
    };
    check("centered", 1e-6, gpu, [rows * k], difference, |[y]| {
        scalar::loss::centered(rows, k, &logits, &center, y);
        0.0
    });
}

fn check_sinkhorn(gpu: &Gpu, groups: usize, rows: usize, k: usize, iterations: usize, temperature: f32) {
    // of logits that lie no further apart than cosines do: beyond that a prototype's whole total may vanish
    let all = groups * rows;
    let cosines: Vec<f32> = values("teacher", (all + 1) * k).iter().map(|l| l.tanh()).collect();
    let lent = probe::lent(gpu, &cosines);
    let run = |[t, e]: [ViewMut<'_>; 2]| {
        sinkhorn(gpu, groups, rows, k, iterations, temperature, lent.view(), t, e).unwrap();
        0.0
    };
    check("sinkhorn", 2e-6 / f64::from(temperature), gpu, [all * k, all], run, |[t, e]| {
        scalar::loss::sinkhorn(groups, rows, k, iterations, temperature, &cosines, t, e);
        0.0
    });
}

#[test]
fn targets_agree_with_their_twins() {
    let Some(gpu) = probe::gpu() else { return };
    for (rows, k) in [(2, 1), (6, 7), (3, 96), (4, 512), (3, 5000), (1, 10_007), (2, 65_536)] {
        for temperature in [0.04, 0.1, 0.32] {
            check_targets(gpu, rows, k, temperature);
        }
        check_columns(gpu, rows, k);
    }
    for (rows, k) in [(1, 3), (9, 129), (70, 260), (33, 1031)] {
        check_columns(gpu, rows, k);
    }
}

#[test]
fn sinkhorn_agrees_with_its_twin() {
    let Some(gpu) = probe::gpu() else { return };
    // one prototype takes all, and its entropy of 0 leaves nothing to be compared with: k is 2 or more
    for (groups, rows, k) in
        [(1, 1, 2), (1, 6, 7), (2, 3, 130), (1, 8, 512), (2, 37, 100), (1, 3, 5000), (1, 2, 9000)]
    {
        for (iterations, temperature) in [(0, 0.1), (1, 0.1), (3, 0.05), (3, 0.32)] {
            check_sinkhorn(gpu, groups, rows, k, iterations, temperature);
        }
    }
}

/// Rows of unit length.
fn unit(name: &str, rows: usize, dim: usize) -> Vec<f32> {
    let mut x = values(name, rows * dim);
    cpu::normalize::l2_in_place(rows, dim, 1e-12, &mut x);
    x
}

fn check_cross_entropy(gpu: &Gpu, globals: usize, views: usize, batch: usize, k: usize, temperature: f32) {
    let size = views * batch * k;
    // far from 0, where digits are lost unless the largest is taken off first
    let student: Vec<f32> = values("student", size).iter().map(|s| s + 20.0).collect();
    let targets = distributions("q", globals * batch, k);
    let [s, t] = [&student, &targets].map(|x| probe::lent(gpu, x));
    let run = |[d]: [ViewMut<'_>; 1]| {
        cross_entropy(gpu, globals, views, batch, k, s.view(), t.view(), temperature, 0.25, d).unwrap()
    };
    check("cross_entropy", 5e-6, gpu, [size], run, |[d]| {
        scalar::loss::cross_entropy(globals, views, batch, k, &student, &targets, temperature, 0.25, d)
    });
}

#[test]
fn cross_entropy_agrees_with_its_twin() {
    let Some(gpu) = probe::gpu() else { return };
    for (globals, views, batch, k) in [
        (2, 2, 1, 1),
        (2, 2, 3, 7),
        (1, 3, 2, 7),
        (1, 1, 2, 8),
        (2, 5, 4, 512),
        (4, 7, 5, 33),
        (3, 3, 2, 600),
        (2, 3, 2, 5000),
        (2, 10, 60, 20),
        (2, 3, 1, 20_001),
        (2, 4, 1, 65_536),
    ] {
        check_cross_entropy(gpu, globals, views, batch, k, 0.1);
        check_cross_entropy(gpu, globals, views, batch, k, 0.32);
    }
}

#[test]
fn losses_between_unit_rows_agree_with_their_twins() {
    let Some(gpu) = probe::gpu() else { return };
    for (globals, views, batch, k, negatives) in [
        (1, 3, 2, 7, 37),
        (2, 2, 1, 16, 5),
        (3, 3, 2, 600, 64),
        (4, 7, 5, 33, 1),
        (2, 10, 30, 20, 300),
        (2, 2, 1, 4, 20_000),
    ] {
        let size = views * batch * k;
        let student = unit("student", views * batch, k);
        let (teacher, queue) = (unit("teacher", globals * batch, k), unit("queue", negatives, k));
        let [s, t, q] = [&student, &teacher, &queue].map(|x| probe::lent(gpu, x));
        let run = |[d]: [ViewMut<'_>; 1]| {
            squared_distances(gpu, globals, views, batch, k, s.view(), t.view(), 0.25, d).unwrap()
        };
        check("squared_distances", 5e-6, gpu, [size], run, |[d]| {
            scalar::loss::squared_distances(globals, views, batch, k, &student, &teacher, 0.25, d)
        });
        for temperature in [0.07, 0.2] {
            let run = |[d]: [ViewMut<'_>; 1]| {
                let (s, t, q) = (s.view(), t.view(), q.view());
                info_nce(gpu, globals, views, batch, k, negatives, s, t, q, temperature, 0.25, d).unwrap()
            };
            check("info_nce", 1e-5, gpu, [size], run, |[d]| {
                let (s, t, q) = (&student, &teacher, &queue);
                scalar::loss::info_nce(globals, views, batch, k, negatives, s, t, q, temperature, 0.25, d)
            });
        }
    }
}

#[test]
fn koleo_agrees_with_its_twin() {
    let Some(gpu) = probe::gpu() else { return };
    for (groups, rows, dim, more) in
        [(1, 2, 3, 0), (2, 5, 64, 0), (2, 33, 100, 3), (3, 70, 17, 1), (1, 150, 300, 0)]
    {
        let x = unit("cls", groups * rows + more, dim);
        let lent = probe::lent(gpu, &x);
        let run = |[d]: [ViewMut<'_>; 1]| koleo(gpu, groups, rows, dim, lent.view(), 0.3, d).unwrap();
        check("koleo", 5e-6, gpu, [x.len()], run, |[d]| scalar::loss::koleo(groups, rows, dim, &x, 0.3, d));
    }
}

#[test]
fn rows_go_around_the_queue() {
    let Some(gpu) = probe::gpu() else { return };
    for (next, rows, length, k) in
        [(0, 2, 5, 3), (3, 4, 5, 3), (4, 11, 5, 3), (7, 0, 9, 2), (300, 150, 401, 65)]
    {
        let (rows, start) = (values("rows", rows * k), values("queue", length * k));
        let mut queue = Placed::new(gpu, 0, &start);
        enqueue(gpu, next, length, k, probe::lent(gpu, &rows).view(), queue.view_mut()).unwrap();
        let mut want = start;
        scalar::loss::enqueue(next, length, k, &rows, &mut want);
        assert_eq!(queue.taken(gpu), want, "{next} {length} {k}");
    }
}

#[test]
fn a_nan_logit_reaches_the_loss() {
    let Some(gpu) = probe::gpu() else { return };
    let mut student = values("student", 2 * 512);
    student[700] = f32::NAN;
    let (s, q) = (probe::lent(gpu, &student), probe::lent(gpu, &distributions("q", 2, 512)));
    let (mut t, mut e) = (Placed::poisoned(gpu, 0, 1024), Placed::poisoned(gpu, 0, 2));
    let loss = cross_entropy(gpu, 2, 2, 1, 512, s.view(), q.view(), 0.1, 1.0, t.view_mut()).unwrap();
    assert!(loss.is_nan() && t.taken(gpu)[512..].iter().all(|d| d.is_nan()));
    assert!(t.taken(gpu)[..512].iter().all(|d| d.is_finite()));
    centered_softmax(gpu, 2, 512, s.view(), None, 0.1, t.view_mut(), e.view_mut()).unwrap();
    assert!(e.taken(gpu)[0].is_finite() && e.taken(gpu)[1].is_nan());
    sinkhorn(gpu, 1, 2, 512, 3, 0.1, s.view(), t.view_mut(), e.view_mut()).unwrap();
    assert!(e.taken(gpu).iter().chain(&t.taken(gpu)).all(|x| x.is_nan()));
    let queue = probe::lent(gpu, &values("queue", 3 * 512));
    let (s, q, queue) = (s.view(), q.view(), queue.view());
    assert!(info_nce(gpu, 2, 2, 1, 512, 3, s, q, queue, 0.1, 1.0, t.view_mut()).unwrap().is_nan());
    assert!(squared_distances(gpu, 2, 2, 1, 512, s, q, 1.0, t.view_mut()).unwrap().is_nan());
    assert!(koleo(gpu, 1, 2, 512, s, 1.0, t.view_mut()).unwrap().is_nan());
}

#[test]
fn what_is_excluded_has_no_part_in_a_loss() {
    let Some(gpu) = probe::gpu() else { return };
    let (k, low) = (600, f32::NEG_INFINITY);
    // whole threads see nothing but what is excluded
    let logits: Vec<f32> =
        values("x", k).iter().enumerate().map(|(i, &x)| if i < 500 { low } else { x }).collect();
    let x = probe::lent(gpu, &logits);
    let (mut t, mut e) = (Placed::poisoned(gpu, 0, k), Placed::poisoned(gpu, 0, 1));
    centered_softmax(gpu, 1, k, x.view(), None, 0.1, t.view_mut(), e.view_mut()).unwrap();
    let (mut want, mut entropy) = (poison(k), poison(1));
    cpu::loss::centered_softmax(1, k, &logits, None, 0.1, &mut want, &mut entropy);
    near("targets", 1e-5, &t.taken(gpu), &want);
    near("entropy", 1e-5, &e.taken(gpu), &entropy);
    // student views 0 and 1 against the targets just made, which are 0 where the student's are excluded
    let (s, q) = (probe::lent(gpu, &logits.repeat(2)), probe::lent(gpu, &want.repeat(2)));
    let mut d = Placed::poisoned(gpu, 0, 2 * k);
    let loss = cross_entropy(gpu, 2, 2, 1, k, s.view(), q.view(), 0.1, 0.5, d.view_mut()).unwrap();
    assert!((loss - f64::from(entropy[0])).abs() < 1e-4, "{loss} {entropy:?}");
    assert!(d.taken(gpu).iter().all(|d| d.abs() < 1e-4));
}
