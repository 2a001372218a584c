use super::*;
use crate::ablate::result::{Kept, Record};
use crate::doctor::Collapse;
use crate::doctor::Diagnosis;
use crate::doctor::course::Reading;

fn run(status: Option<u8>, collapse: Option<(Way, u64)>, error: Option<&str>) -> RunResult {
    let row = |(way, since)| Collapse { way, since, steps: 50, lasts: true, first: Reading::default() };
    let diagnosis = Diagnosis {
        collapse: collapse.map(row),
        causes: vec![],
        suspicion: None,
        last: Some(Reading { step: 99, ..Reading::default() }),
        prototypes: Some(16),
        total_steps: Some(100),
    };
    let kept =
        status.map(|status| Kept { status, error: error.map(str::to_owned), seconds: 1.0, peak_bytes: None });
    let record =
        Record { knn: vec![(0, 10.0), (9, 50.0 + collapse.map_or(0.0, |_| 1.0))], ..Record::default() };
    RunResult { seed: 0, kept, diagnosis: Some(diagnosis), record }
}

#[test]
fn a_line_says_what_came_of_the_seeds() {
    let uniform = |since| run(Some(3), Some((Way::ToUniform, since)), None);
    let check = |runs: Vec<RunResult>, expect: Option<Expect>, met: Option<Met>, expected: &str| {
        let (name, published) = ("a".to_owned(), Some("72.8".to_owned()));
        let outcome = Outcome { name, published, expect, batch: 8, runs };
        assert_eq!((outcome.met(), outcome.line().as_str()), (met, expected));
    };
    let (trains, collapses) = (Some(Expect::Trains), Some(Expect::Collapses(Way::ToUniform)));
    let trained = || run(Some(0), None, None);
    check(
        vec![trained(), trained()],
        trains,
        Some(Met::Yes),
        "trains · k-NN 10.0 ± 0.0 → 50.0 ± 0.0 % · published 72.8 · as expected",
    );
    check(
        vec![uniform(7), uniform(9)],
        collapses,
        Some(Met::Yes),
        "collapses to uniform, since steps 7 to 9 · k-NN 10.0 ± 0.0 → 51.0 ± 0.0 % · published 72.8 · as expected",
    );
    check(
        vec![uniform(7)],
        trains,
        Some(Met::No),
        "collapses to uniform, since step 7 · k-NN 10.0 → 51.0 % · published 72.8 · expected that it trains",
    );
    check(
        vec![trained(), uniform(7), run(Some(1), None, Some("full disk"))],
        collapses,
        Some(Met::Partly(1, 3)),
        "trains with 1 seed, collapses to uniform with 1 seed, since step 7, fails with 1 seed: full disk · \
         k-NN 10.0 ± 0.0 → 50.3 ± 0.6 % · published 72.8 · expected that it collapses to uniform: so with 1 of 3 seeds",
    );
    check(
        vec![run(Some(130), None, None), run(None, None, None)],
        trains,
        Some(Met::Unknown),
        "not finished · k-NN 10.0 ± 0.0 → 50.0 ± 0.0 % · published 72.8 · expected that it trains: not known",
    );
    check(vec![trained()], None, None, "trains · k-NN 10.0 → 50.0 % · published 72.8");
}

#[test]
fn seeds_that_tell_nothing_leave_it_open() {
    let check = |runs: Vec<RunResult>, met: Met| {
        let expect = Some(Expect::Trains);
        let outcome = Outcome { name: "a".into(), published: None, expect, batch: 8, runs };
        assert_eq!(outcome.met(), Some(met));
    };
    let (trained, unfinished) = (run(Some(0), None, None), run(Some(130), None, None));
    check(vec![trained.clone(), unfinished.clone()], Met::Partly(1, 2));
    check(vec![trained.clone(), trained], Met::Yes);
    check(vec![unfinished.clone(), run(Some(3), Some((Way::ToUniform, 4)), None)], Met::No);
    check(vec![unfinished], Met::Unknown);
}

#[test]
fn neighbours_no_better_than_before_are_nothing_learnt() {
    for (after, word, met) in
        [(10.1, "trains", Met::Yes), (10.0, "learns nothing", Met::No), (3.0, "learns nothing", Met::No)]
    {
        let mut one = run(Some(0), None, None);
        one.record.knn = vec![(0, 10.0), (5, 40.0), (9, after)];
        let expect = Some(Expect::Trains);
        let outcome = Outcome { name: "a".into(), published: None, expect, batch: 8, runs: vec![one] };
        assert_eq!((outcome.word().as_str(), outcome.met()), (word, Some(met)));
        let expect = Some(Expect::LearnsNothing);
        assert_eq!(Outcome { expect, ..outcome }.met() == Some(Met::Yes), met == Met::No);
    }
}

#[test]
fn an_end_that_looks_like_a_collapse_is_no_training() {
    let check = |steps: u64, row: u64, word: &str, met: Met| {
        let mut one = run(Some(0), None, None);
        let diagnosis = one.diagnosis.as_mut().unwrap();
        let (way, since, first) = (Way::ToUniform, 9, Reading::default());
        diagnosis.suspicion = (row > 0).then_some(Collapse { way, since, steps: row, lasts: true, first });
        diagnosis.last = Some(Reading { step: steps - 1, ..Reading::default() });
        let expect = Some(Expect::Trains);
        let outcome = Outcome { name: "a".into(), published: None, expect, batch: 8, runs: vec![one] };
        assert_eq!((outcome.word().as_str(), outcome.met()), (word, Some(met)));
    };
    check(100, 9, "trains", Met::Yes);
    check(100, 37, "undecided: its last 37 steps look like a collapse to uniform", Met::Unknown);
    check(12, 8, "too short to tell: 12 steps, of which a collapse takes 50", Met::Unknown);
    check(49, 0, "too short to tell: 49 steps, of which a collapse takes 50", Met::Unknown);
    check(50, 0, "trains", Met::Yes);
}
