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
            let loss = cpu::loss::cross_entropy(views, batch, k, &student, &targets, temperature, 0.25, d);
            scalars.copy_from_slice(&[loss as f32, cpu::loss::entropy_of_mean(rows, k, &targets) as f32]);
        },
        |[d, scalars]| {
            let loss = scalar::loss::cross_entropy(views, batch, k, &student, &targets, temperature, 0.25, d);
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
        (scalar::loss::cross_entropy(views, batch, k, student, &targets, 0.5, 0.1, &mut d), d)
    };
    differentiates("dstudent", &student, &run(&student).1, |student| run(student).0);
}

#[test]
fn a_nan_logit_reaches_the_loss() {
    let mut student = values("student", 2 * 512);
    student[700] = f32::NAN;
    let mut d = poison(1024);
    let targets = distributions("q", 2, 512);
    assert!(cpu::loss::cross_entropy(2, 1, 512, &student, &targets, 0.1, 1.0, &mut d).is_nan());
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
