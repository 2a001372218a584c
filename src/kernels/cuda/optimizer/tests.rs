use super::placed::Placed;
use super::*;
use crate::kernels::cuda::probe::{self, near};
use crate::kernels::probe::values;
use crate::kernels::{cpu, scalar};

const TOLERANCE: f64 = 5e-7;

/// Runs a kernel and its twin from the same `outputs`, the kernel's from different places, and compares what they make of them.
#[track_caller]
fn check<const N: usize>(
    what: &str,
    gpu: &Gpu,
    outputs: [&[f32]; N],
    fast: impl Fn([ViewMut<'_>; N]),
    slow: impl Fn(&mut [Vec<f32>; N]),
) {
    let mut want = outputs.map(<[f32]>::to_vec);
    slow(&mut want);
    for shift in [0, 1] {
        let mut made = outputs.map(|start| Placed::new(gpu, shift, start));
        fast(made.each_mut().map(Placed::view_mut));
        for (i, (made, want)) in made.iter().zip(&want).enumerate() {
            near(&format!("output {i} of {what}"), TOLERANCE, &made.taken(gpu), want);
        }
    }
}

fn check_adamw(gpu: &Gpu, n: usize) {
    let [p, g, m, a] = ["p", "g", "m", "average"].map(|name| values(name, n));
    let v: Vec<f32> = values("v", n).into_iter().map(|v| v * v).collect();
    let lent = probe::lent(gpu, &g);
    for (step, decay) in [(1, 0.0), (1000, 0.4)] {
        let rest = (5e-4, 0.9, 0.999, 1e-8, 0.3, 0.996);
        let (lr, b1, b2, eps, scale, momentum) = rest;
        check(
            "adamw",
            gpu,
            [&p, &m, &v],
            |[p, m, v]| {
                adamw(gpu, p, lent.view(), m, v, lr, decay, b1, b2, eps, step, scale, None, 0.0).unwrap();
            },
            |[p, m, v]| scalar::optimizer::adamw(p, &g, m, v, lr, decay, b1, b2, eps, step, scale, None, 0.0),
        );
        check(
            "adamw with an average",
            gpu,
            [&p, &m, &v, &a],
            |[p, m, v, a]| {
                adamw(gpu, p, lent.view(), m, v, lr, decay, b1, b2, eps, step, scale, Some(a), momentum)
                    .unwrap();
            },
            |[p, m, v, a]| {
                scalar::optimizer::adamw(p, &g, m, v, lr, decay, b1, b2, eps, step, scale, Some(a), momentum);
            },
        );
    }
}

fn check_momentum(gpu: &Gpu, n: usize) {
    let [p, g, b, a] = ["p", "g", "m", "average"].map(|name| values(name, n));
    let zeros = vec![0.0; n];
    for decay in [0.0, 1e-4] {
        // weights of 0 and gradients of 0 have no ratio
        for (p, g) in [(&p, &g), (&zeros, &g), (&p, &zeros)] {
            let lent = probe::lent(gpu, g);
            let g_view = lent.view();
            check(
                "sgd",
                gpu,
                [p, &b],
                |[p, b]| sgd(gpu, p, g_view, b, 0.03, decay, 0.9, 0.5, None, 0.0).unwrap(),
                |[p, b]| scalar::optimizer::sgd(p, g, b, 0.03, decay, 0.9, 0.5, None, 0.0),
            );
            check(
                "sgd with an average",
                gpu,
                [p, &b, &a],
                |[p, b, a]| sgd(gpu, p, g_view, b, 0.03, decay, 0.9, 0.5, Some(a), 0.996).unwrap(),
                |[p, b, a]| scalar::optimizer::sgd(p, g, b, 0.03, decay, 0.9, 0.5, Some(a), 0.996),
            );
            check(
                "lars",
                gpu,
                [p, &b],
                |[p, b]| lars(gpu, p, g_view, b, 0.3, decay, 0.9, 0.001, 0.5, None, 0.0).unwrap(),
                |[p, b]| scalar::optimizer::lars(p, g, b, 0.3, decay, 0.9, 0.001, 0.5, None, 0.0),
            );
            check(
                "lars with an average",
                gpu,
                [p, &b, &a],
                |[p, b, a]| lars(gpu, p, g_view, b, 0.3, decay, 0.9, 0.001, 0.5, Some(a), 0.996).unwrap(),
                |[p, b, a]| scalar::optimizer::lars(p, g, b, 0.3, decay, 0.9, 0.001, 0.5, Some(a), 0.996),
            );
        }
    }
}

fn check_plain(gpu: &Gpu, n: usize) {
    let (p, x) = (values("p", n), values("g", n));
    let lent = probe::lent(gpu, &x);
    check(
        "lerp",
        gpu,
        [&p],
        |[p]| lerp(gpu, p, lent.view(), 0.996).unwrap(),
        |[p]| scalar::optimizer::lerp(p, &x, 0.996),
    );
    check(
        "axpy",
        gpu,
        [&p],
        |[p]| axpy(gpu, p, 0.7, lent.view()).unwrap(),
        |[p]| scalar::optimizer::axpy(p, 0.7, &x),
    );
}

#[test]
fn updates_agree_with_their_twins() {
    let Some(gpu) = probe::gpu() else { return };
    for n in [1, 17, 384, 20_000, 70_001] {
        check_adamw(gpu, n);
        check_momentum(gpu, n);
        check_plain(gpu, n);
    }
}

#[test]
fn updates_are_those_of_the_cpu_bit_for_bit() {
    let Some(gpu) = probe::gpu() else { return };
    let n = 5003;
    let [mut p, g, mut m, mut a] = ["p", "g", "m", "average"].map(|name| values(name, n));
    let mut v: Vec<f32> = values("v", n).into_iter().map(|v| v * v).collect();
    let [mut p2, g2, mut m2, mut v2, mut a2] = [&p, &g, &m, &v, &a].map(|x| Placed::new(gpu, 0, x));
    for step in 1..4 {
        cpu::optimizer::adamw(
            &mut p,
            &g,
            &mut m,
            &mut v,
            5e-4,
            0.4,
            0.9,
            0.999,
            1e-8,
            step,
            0.3,
            Some(&mut a),
            0.996,
        );
        let average = Some(a2.view_mut());
        let (p2, m2, v2) = (p2.view_mut(), m2.view_mut(), v2.view_mut());
        adamw(gpu, p2, g2.view(), m2, v2, 5e-4, 0.4, 0.9, 0.999, 1e-8, step, 0.3, average, 0.996).unwrap();
    }
    let same = [(&p, &p2), (&m, &m2), (&v, &v2), (&a, &a2)].map(|(want, made)| made.taken(gpu) == *want);
    // processors without a fused multiply-add round twice
    if cfg!(target_arch = "aarch64") || is_fused() {
        assert_eq!(same, [true; 4], "weights, moments, average");
    }
}

fn is_fused() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[test]
fn an_average_of_equal_weights_stays_where_it_is() {
    let Some(gpu) = probe::gpu() else { return };
    let source = values("p", 1000);
    let (lent, mut target) = (probe::lent(gpu, &source), Placed::new(gpu, 0, &source));
    (0..20).for_each(|_| lerp(gpu, target.view_mut(), lent.view(), 0.996).unwrap());
    assert_eq!(target.taken(gpu), source);
}

/// More arrays than one launch takes, some of them empty, some unaligned, some of several blocks.
fn many(gpu: &Gpu) -> (Vec<Vec<f32>>, Vec<Placed>) {
    let lengths = (0..150).map(|i| if i % 37 == 5 { 70_000 + i } else { i * 7 % 40 });
    let arrays: Vec<_> = lengths.enumerate().map(|(i, n)| values(&format!("x{i}"), n)).collect();
    let placed = arrays.iter().enumerate().map(|(i, x)| Placed::new(gpu, i % 3, x)).collect();
    (arrays, placed)
}

#[test]
fn sums_of_squares_are_those_of_each_array() {
    let Some(gpu) = probe::gpu() else { return };
    let (arrays, placed) = many(gpu);
    let views: Vec<_> = placed.iter().map(Placed::view).collect();
    for (i, (found, x)) in sums_of_squares(gpu, &views).unwrap().iter().zip(&arrays).enumerate() {
        let want = scalar::optimizer::sum_of_squares(x);
        assert!((found - want).abs() <= 1e-12 * want, "{i}: {found} {want}");
        assert_eq!(*found, sum_of_squares(gpu, views[i]).unwrap(), "{i} among others and alone");
    }
    assert_eq!(each_finite(gpu, &views).unwrap(), vec![true; 150]);
    assert!(sums_of_squares(gpu, &[]).unwrap().is_empty() && each_finite(gpu, &[]).unwrap().is_empty());
    let big = probe::lent(gpu, &[1e30, -2e30]);
    assert!((sum_of_squares(gpu, big.view()).unwrap() / 5e60 - 1.0).abs() < 1e-6);
}

#[test]
fn a_number_that_is_not_finite_shows() {
    let Some(gpu) = probe::gpu() else { return };
    for (n, at) in [(1, 0), (7, 3), (7, 6), (70_000, 69_999), (70_000, 40_000)] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for shift in [0, 1] {
                let mut x = values("x", n);
                let good = Placed::new(gpu, shift, &x);
                x[at] = bad;
                let bad = Placed::new(gpu, shift, &x);
                let views = [good.view(), bad.view(), good.view()];
                assert_eq!(each_finite(gpu, &views).unwrap(), [true, false, true], "{n} {at}");
                assert!(!all_finite(gpu, views[1]).unwrap() && all_finite(gpu, views[0]).unwrap());
                let finite = sums_of_squares(gpu, &views)
                    .unwrap()
                    .iter()
                    .map(|sum| sum.is_finite())
                    .collect::<Vec<_>>();
                assert_eq!(finite, [true, false, true], "{n} {at}");
            }
        }
    }
}
