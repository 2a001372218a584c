use crate::kernels::probe::{agree, values};
use crate::kernels::{cpu, scalar};

fn check(n: usize) {
    let (p, g, m) = (values("p", n), values("g", n), values("m", n));
    let v: Vec<f32> = values("v", n).into_iter().map(|v| v * v).collect();
    for (step, decay) in [(1, 0.0), (1000, 0.4)] {
        twins!(
            5e-7,
            optimizer::adamw(p, &g, m, v, 5e-4, decay, 0.9, 0.999, 1e-8, step, 0.3, None, 0.0),
            p = p.clone(),
            m = m.clone(),
            v = v.clone()
        );
        twins!(
            5e-7,
            optimizer::adamw(p, &g, m, v, 5e-4, decay, 0.9, 0.999, 1e-8, step, 0.3, Some(&mut *a), 0.996),
            p = p.clone(),
            m = m.clone(),
            v = v.clone(),
            a = values("average", n)
        );
    }
    for decay in [0.0, 1e-4] {
        twins!(
            5e-7,
            optimizer::sgd(p, &g, b, 0.03, decay, 0.9, 0.5, None, 0.0),
            p = p.clone(),
            b = m.clone()
        );
        twins!(
            5e-7,
            optimizer::sgd(p, &g, b, 0.03, decay, 0.9, 0.5, Some(&mut *a), 0.996),
            p = p.clone(),
            b = m.clone(),
            a = values("average", n)
        );
        // weights of 0 and gradients of 0 have no ratio
        for (p, g) in [(&p, &g), (&vec![0.0; n], &g), (&p, &vec![0.0; n])] {
            twins!(
                5e-7,
                optimizer::lars(p, g, b, 0.3, decay, 0.9, 0.001, 0.5, None, 0.0),
                p = p.clone(),
                b = m.clone()
            );
        }
        twins!(
            5e-7,
            optimizer::lars(p, &g, b, 0.3, decay, 0.9, 0.001, 0.5, Some(&mut *a), 0.996),
            p = p.clone(),
            b = m.clone(),
            a = values("average", n)
        );
    }
    twins!(5e-7, optimizer::lerp(p, &g, 0.996), p = p.clone());
    twins!(5e-7, optimizer::axpy(p, 0.7, &g), p = p.clone());
    twins!(0.0, optimizer::scale(p, 0.7), p = p.clone());
    agree(
        "sum_of_squares",
        1e-7,
        [vec![0.0]],
        |[s]| s[0] = cpu::optimizer::sum_of_squares(&p) as f32,
        |[s]| s[0] = scalar::optimizer::sum_of_squares(&p) as f32,
    );
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut p = p.clone();
        assert!(cpu::optimizer::all_finite(&p));
        *p.last_mut().unwrap() = bad;
        assert!(!cpu::optimizer::all_finite(&p));
    }
}

#[test]
fn fast_optimizer_agrees_with_its_twin() {
    [1, 17, 384, 20_000, 100_003].into_iter().for_each(check);
}

#[test]
fn an_average_of_equal_weights_stays_where_it_is() {
    let source = values("p", 1000);
    let mut target = source.clone();
    (0..100).for_each(|_| cpu::optimizer::lerp(&mut target, &source, 0.996));
    assert_eq!(target, source);
}
