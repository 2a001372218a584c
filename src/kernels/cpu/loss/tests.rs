use crate::kernels::probe::{agree, differentiates, distributions, poison, values};
use crate::kernels::{cpu, scalar};

fn check(views: usize, batch: usize, k: usize, temperature: f32) {
    let (rows, size) = (2 * batch, 2 * batch * k);
    let (logits, center) = (values("teacher", size), values("center", k));
    // a sharper temperature magnifies the rounding of logits minus centre
    let tolerance = 2e-6 / f64::from(temperature);
    for center in [None, Some(&center[..])] {
        twins!(
            tolerance,
            loss::centered_softmax(rows, k, &logits, center, temperature, t, entropy),
            t = poison(size),
            entropy = poison(rows)
        );
    }
    twins!(1e-6, loss::column_mean(rows, k, &logits, mean), mean = poison(k));
    twins!(1e-6, loss::centered(rows, k, &logits, &center, y), y = poison(size));
    // of logits that lie no further apart than cosines do: beyond that a prototype's whole total may vanish
    let cosines: Vec<f32> = logits.iter().map(|l| l.tanh()).collect();
    // one prototype takes all, and its entropy of 0 leaves nothing to be compared with
    for (groups, rows) in [(1, rows), (2, batch)].into_iter().filter(|_| k > 1) {
        for iterations in [1, 3] {
            twins!(
                tolerance,
                loss::sinkhorn(groups, rows, k, iterations, temperature, &cosines, t, entropy),
                t = poison(size),
                entropy = poison(2 * batch)
            );
        }
    }
    let (student, targets) = (values("student", views * batch * k), distributions("q", rows, k));
    agree(
        "cross_entropy",
        5e-6,
        [poison(student.len()), vec![0.0; 2]],
        |[d, scalars]| {
            let loss = cpu::loss::cross_entropy(2, views, batch, k, &student, &targets, temperature, 0.25, d);
            scalars.copy_from_slice(&[loss as f32, cpu::loss::entropy_of_mean(rows, k, &targets) as f32]);
        },
        |[d, scalars]| {
            let loss =
                scalar::loss::cross_entropy(2, views, batch, k, &student, &targets, temperature, 0.25, d);
            scalars.copy_from_slice(&[loss as f32, scalar::loss::entropy_of_mean(rows, k, &targets) as f32]);
        },
    );
}

#[test]
fn fast_loss_agrees_with_its_twin() {
    for (views, batch, k) in [(2, 1, 1), (2, 3, 7), (5, 4, 512), (3, 2, 5000), (10, 1, 65_536)] {
        check(views, batch, k, 0.1);
        check(views, batch, k, 0.04 * 8.0);
    }
}

#[test]
fn scalar_loss_differentiates() {
    let (views, batch, k) = (4, 2, 3);
    let (student, targets) = (values("student", 24), distributions("q", 4, 3));
    let run = |student: &[f32]| {
        let mut d = poison(24);
        (scalar::loss::cross_entropy(2, views, batch, k, student, &targets, 0.5, 0.1, &mut d), d)
    };
    differentiates("dstudent", &student, &run(&student).1, |student| run(student).0);
}

#[test]
fn a_nan_logit_reaches_the_loss() {
    let mut student = values("student", 2 * 512);
    student[700] = f32::NAN;
    let mut d = poison(1024);
    let targets = distributions("q", 2, 512);
    assert!(cpu::loss::cross_entropy(2, 2, 1, 512, &student, &targets, 0.1, 1.0, &mut d).is_nan());
    let (mut t, mut entropy) = (poison(1024), poison(2));
    cpu::loss::centered_softmax(2, 512, &student, None, 0.1, &mut t, &mut entropy);
    assert!(entropy[0].is_finite() && entropy[1].is_nan());
    cpu::loss::sinkhorn(1, 2, 512, 3, 0.1, &student, &mut t, &mut entropy);
    assert!(entropy.iter().chain(&t).all(|x| x.is_nan()));
}

#[test]
fn sinkhorn_uses_every_prototype_alike_and_its_rows_are_probabilities() {
    let (rows, k) = (24, 6);
    let logits: Vec<f32> = values("teacher", rows * k).iter().map(|l| l.tanh()).collect();
    let (mut t, mut entropy) = (poison(rows * k), poison(rows));
    cpu::loss::sinkhorn(1, rows, k, 50, 0.1, &logits, &mut t, &mut entropy);
    for row in t.chunks(k) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
    }
    for c in 0..k {
        let used: f32 = t.iter().skip(c).step_by(k).sum();
        assert!((used - (rows / k) as f32).abs() < 1e-2, "prototype {c} is used {used} times");
    }
}

/// Rows of unit length.
fn unit(name: &str, rows: usize, dim: usize) -> Vec<f32> {
    let mut x = values(name, rows * dim);
    cpu::normalize::l2_in_place(rows, dim, 1e-12, &mut x);
    x
}

/// Losses between rows of any number of teacher views.
fn check_pairs(globals: usize, views: usize, batch: usize, k: usize) {
    let size = views * batch * k;
    let (student, targets) = (values("student", size), distributions("q", globals * batch, k));
    let (rows, teacher) = (unit("student", views * batch, k), unit("teacher", globals * batch, k));
    let negatives = 37;
    let queue = unit("queue", negatives, k);
    for which in 0..3 {
        let run = |fast: bool, d: &mut [f32]| match (which, fast) {
            (0, true) => cpu::loss::cross_entropy(globals, views, batch, k, &student, &targets, 0.1, 0.25, d),
            (0, false) => {
                scalar::loss::cross_entropy(globals, views, batch, k, &student, &targets, 0.1, 0.25, d)
            }
            (1, true) => cpu::loss::squared_distances(globals, views, batch, k, &rows, &teacher, 0.25, d),
            (1, false) => scalar::loss::squared_distances(globals, views, batch, k, &rows, &teacher, 0.25, d),
            (_, true) => cpu::loss::info_nce(
                globals, views, batch, k, negatives, &rows, &teacher, &queue, 0.2, 0.25, d,
            ),
            (_, false) => scalar::loss::info_nce(
                globals, views, batch, k, negatives, &rows, &teacher, &queue, 0.2, 0.25, d,
            ),
        };
        agree(
            ["cross_entropy", "squared_distances", "info_nce"][which],
            5e-6,
            [poison(size), vec![0.0]],
            |[d, loss]| loss[0] = run(true, d) as f32,
            |[d, loss]| loss[0] = run(false, d) as f32,
        );
    }
}

#[test]
fn fast_losses_between_any_views_agree_with_their_twins() {
    for (globals, views, batch, k) in
        [(1, 3, 2, 7), (2, 2, 1, 16), (3, 3, 2, 600), (4, 7, 5, 33), (2, 10, 60, 20)]
    {
        check_pairs(globals, views, batch, k);
    }
}

#[test]
fn fast_koleo_agrees_with_its_twin() {
    for (groups, rows, dim, more) in [(1, 2, 3, 0), (2, 5, 64, 0), (2, 33, 100, 3), (3, 70, 17, 1)] {
        let x = unit("cls", (groups + more) * rows, dim);
        agree(
            "koleo",
            5e-6,
            [poison(x.len()), vec![0.0]],
            |[dx, loss]| loss[0] = cpu::loss::koleo(groups, rows, dim, &x, 0.3, dx) as f32,
            |[dx, loss]| loss[0] = scalar::loss::koleo(groups, rows, dim, &x, 0.3, dx) as f32,
        );
    }
}

#[test]
fn rows_go_around_the_queue() {
    for (next, rows) in [(0, 2), (3, 4), (4, 11)] {
        let rows = values("rows", rows * 3);
        twins!(1e-7, loss::enqueue(next, 5, 3, &rows, queue), queue = values("queue", 15));
    }
}

#[test]
fn scalar_losses_of_unit_rows_differentiate() {
    let (globals, views, batch, k, negatives) = (3, 4, 2, 3, 5);
    let (student, teacher, queue) = (unit("student", 8, 3), unit("teacher", 6, 3), unit("queue", 5, 3));
    let distance = |s: &[f32]| {
        let mut d = poison(24);
        (scalar::loss::squared_distances(globals, views, batch, k, s, &teacher, 0.1, &mut d), d)
    };
    differentiates("squared_distances", &student, &distance(&student).1, |s| distance(s).0);
    let contrast = |s: &[f32]| {
        let mut d = poison(24);
        let loss = scalar::loss::info_nce(
            globals, views, batch, k, negatives, s, &teacher, &queue, 0.5, 0.1, &mut d,
        );
        (loss, d)
    };
    differentiates("info_nce", &student, &contrast(&student).1, |s| contrast(s).0);
    let (groups, rows, dim) = (2, 4, 3);
    let koleo = |x: &[f32]| {
        let mut d = poison(24);
        (scalar::loss::koleo(groups, rows, dim, x, 1.0, &mut d), d)
    };
    differentiates("koleo", &student, &koleo(&student).1, |x| koleo(x).0);
}
