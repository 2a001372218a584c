use super::*;
use crate::doctor::course::Reading;
use crate::graph::load::{Request, load_text};
use crate::plan::build;
use crate::stages::Registry;

fn subject(sets: &[&str]) -> Subject {
    let text = include_str!("../../../graphs/quickstart.ron");
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    let loaded = load_text(text, &Request { graph: "quickstart.ron".into(), sets, ..Request::default() });
    let (plan, _) = build::plan(&loaded, &Registry::default()).unwrap();
    Subject::of(&plan)
}

fn collapse(way: Way, teacher_temperature: f64, teacher_momentum: f64) -> Collapse {
    let (temperature, momentum) = (Some(teacher_temperature), Some(teacher_momentum));
    let first =
        Reading { teacher_temperature: temperature, teacher_momentum: momentum, ..Reading::default() };
    Collapse { way, since: 3, steps: 50, lasts: true, first }
}

fn check(subject: &Subject, collapse: &Collapse, expected: &[(&str, &str)]) {
    let found = causes(subject, collapse);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (cause, (what, remedy)) in found.iter().zip(expected) {
        assert!(cause.what.contains(what) && cause.remedy == *remedy, "{cause:?}, not {what}: {remedy}");
    }
}

const COOL: &str = "--set 'center.temperature=Constant(0.04)'";

#[test]
fn the_setting_that_differs_is_named_with_its_remedy() {
    let (uniform, one) = (Way::ToUniform, Way::ToOnePrototype);
    let hot = subject(&["center.temperature=Constant(0.2)"]);
    assert_eq!(hot.prototypes, Some(256));
    check(&hot, &collapse(uniform, 0.2, 0.99), &[("temperature was 0.2", COOL)]);
    let slow = subject(&["center.momentum=0.999"]);
    check(&slow, &collapse(one, 0.04, 0.99), &[("momentum is 0.999", "--set center.momentum=0.9")]);
    let warm = subject(&["center.temperature=Linear(from: 0.04, to: 0.07, over: Epochs(3))"]);
    check(&warm, &collapse(uniform, 0.0627, 0.99), &[("risen to 0.063", COOL)]);
    check(
        &warm,
        &collapse(uniform, 0.04, 0.5),
        &[("momentum was 0.500", "--set 'ema.momentum=Cosine(from: 0.996, to: 1.0)'")],
    );
    let rash = subject(&["optimizer.lr=0.05", "optimizer.lr_course=Constant"]);
    check(
        &rash,
        &collapse(one, 0.04, 0.99),
        &[
            ("reaches 0.05", "--set optimizer.lr=0.005"),
            ("without a warm-up", "--set 'optimizer.lr_course=Cosine(warmup: Fraction(0.1))'"),
        ],
    );
    let plain = subject(&["network.head.batch_norm=false"]);
    let norm = "--set network.head.batch_norm=true";
    check(&plain, &collapse(uniform, 0.04, 0.99), &[("a batch as small as 64", norm)]);
    check(&subject(&[]), &collapse(one, 0.04, 0.99), &[("none of", "--set optimizer.lr=0.0002")]);
}

#[test]
fn remedies_are_arguments_that_check() {
    let sets = [
        "center.temperature=Constant(0.04)",
        "center.momentum=0.9",
        "optimizer.lr=0.0002",
        "ema.momentum=Cosine(from: 0.996, to: 1.0)",
        "optimizer.lr_course=Cosine(warmup: Fraction(0.1))",
    ];
    assert!(subject(&sets).prototypes.is_some());
}

/// A graph whose stages are told by name and parameters alone.
fn made(center: &str, ema: &str, loss: &str, network: serde_json::Value) -> Subject {
    let patient = |name: &str, kind: &str| Patient::new(name, kind, serde_json::json!({}));
    Subject::made(
        network,
        vec![
            (Role::Center, patient("balance", center)),
            (Role::Ema, patient("rule", ema)),
            (Role::Loss, patient("error", loss)),
        ],
    )
}

#[test]
fn variants_are_known_by_their_names() {
    let network = serde_json::json!({"head": {"l2": true, "layers": 3, "batch_norm": false}});
    let bare = serde_json::json!({"head": {"l2": false, "layers": 3, "batch_norm": true}});
    let one = collapse(Way::ToOnePrototype, 0.04, 0.99);
    let average = "--swap rule=stages/ema/momentum.ron";
    let center = "--swap balance=stages/center/centering.ron";
    check(&made("Uncentered", "Momentum", "CrossEntropy", network.clone()), &one, &[("not centred", center)]);
    for (ema, said) in [("StudentCopy", "a copy"), ("PreviousIteration", "iteration before")] {
        check(&made("Centering", ema, "CrossEntropy", network.clone()), &one, &[(said, average)]);
        let same = collapse(Way::ToOneTarget, 0.04, 0.99);
        check(&made("Centering", ema, "CrossEntropy", network.clone()), &same, &[(said, average)]);
        let balanced = made("SinkhornKnopp", ema, "CrossEntropy", network.clone());
        check(&balanced, &one, &[("none of", "--set optimizer.lr=5e-5")]);
    }
    check(
        &made("Centering", "Momentum", "MeanSquaredError", bare),
        &one,
        &[
            ("no L2", "--set network.head.l2=true"),
            ("squared error", "--swap error=stages/loss/cross_entropy.ron"),
        ],
    );
}
