//! What a variant came to, over its seeds.

use std::path::Path;

use super::end::End;
use super::result::RunResult;
use super::spec::Expect;
use super::spread::Spread;
use super::variant::Variant;
use crate::doctor::Way;
use crate::doctor::course::STEPS;
use crate::error::Error;
use crate::stages::Registry;

/// A variant's runs.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub name: String,
    pub published: Option<String>,
    pub expect: Option<Expect>,
    /// Pictures in a step.
    pub batch: usize,
    pub runs: Vec<RunResult>,
}

/// Whether what was expected came true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    Yes,
    /// For so many seeds of all that are done.
    Partly(usize, usize),
    No,
    /// No run tells: none is done, or they are too short.
    Unknown,
}

/// Reads a variant's runs.
///
/// # Errors
/// When a run's record can't be read.
pub fn read(variant: &Variant, out: &Path, registry: &Registry) -> Result<Outcome, Error> {
    let runs =
        variant.runs.iter().map(|run| RunResult::read(run.seed, &run.folder(out, &variant.name), registry));
    Ok(Outcome {
        name: variant.name.clone(),
        published: variant.published.clone(),
        expect: variant.expect,
        batch: variant.runs.first().map_or(1, |run| run.plan.batch.global),
        runs: runs.collect::<Result<_, _>>()?,
    })
}

impl Outcome {
    fn ends(&self) -> Vec<End> {
        self.runs.iter().map(End::of).collect()
    }

    /// In a few words: `trains`, `collapses to uniform at step 12 to 40`, `trains with 2 seeds, fails with 1: …`.
    pub fn word(&self) -> String {
        let ends = self.ends();
        let mut kinds: Vec<&End> = Vec::new();
        for end in &ends {
            if !kinds.contains(&end) {
                kinds.push(end);
            }
        }
        let one = kinds.len() == 1;
        let words = kinds.into_iter().map(|kind| {
            let count = ends.iter().filter(|end| *end == kind).count();
            let with = match (one, count) {
                (true, _) => String::new(),
                (_, 1) => " with 1 seed".into(),
                _ => format!(" with {count} seeds"),
            };
            match kind {
                End::Trained => format!("trains{with}"),
                End::Doubtful(way, steps) => {
                    format!("undecided{with}: its last {steps} steps look like a collapse {}", way.word())
                }
                End::Short(steps) => format!("too short to tell{with}: {steps} steps, of which a collapse takes {STEPS}"),
                End::Collapsed(way) => format!("collapses {}{with}{}", way.word(), self.since(*way)),
                End::Failed(why) => format!("fails{with}: {why}"),
                End::Unfinished if ends.iter().all(|end| *end == End::Unfinished) => "not finished".into(),
                End::Unfinished => format!("not finished{with}"),
            }
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// From which steps on its runs are collapsed.
    fn since(&self, way: Way) -> String {
        let of = |run: &RunResult| {
            let collapse = run.diagnosis.as_ref()?.collapse.as_ref()?;
            (End::of(run) == End::Collapsed(way)).then_some(collapse.since)
        };
        let steps: Vec<u64> = self.runs.iter().filter_map(of).collect();
        match (steps.iter().min(), steps.iter().max()) {
            (Some(first), Some(last)) if first == last => format!(", since step {first}"),
            (Some(first), Some(last)) => format!(", since steps {first} to {last}"),
            _ => String::new(),
        }
    }

    /// Whether what was expected came true; none where nothing was.
    pub fn met(&self) -> Option<Met> {
        let expect = self.expect?;
        let done: Vec<End> = self.ends().into_iter().filter(End::tells).collect();
        let fits = |end: &&End| match expect {
            Expect::Trains => **end == End::Trained,
            Expect::Collapses(way) => **end == End::Collapsed(way),
        };
        let fitting = done.iter().filter(fits).count();
        Some(match (fitting, done.len()) {
            (_, 0) => Met::Unknown,
            (fitting, all) if fitting == all => Met::Yes,
            (0, _) => Met::No,
            (fitting, all) => Met::Partly(fitting, all),
        })
    }

    /// `trains: as expected`, or what was expected in its place.
    pub fn verdict(&self) -> Option<String> {
        let expected = self.expect?.word();
        Some(match self.met()? {
            Met::Yes => "as expected".into(),
            Met::No => format!("expected that it {expected}"),
            Met::Partly(fitting, all) => {
                format!("expected that it {expected}: so with {fitting} of {all} seeds")
            }
            Met::Unknown => format!("expected that it {expected}: not known yet"),
        })
    }

    /// A figure over the seeds that have it.
    pub fn spread(&self, of: impl Fn(&RunResult) -> Option<f64>) -> Option<Spread> {
        Spread::of(&self.runs.iter().filter_map(of).collect::<Vec<_>>())
    }

    /// Accuracy of the last evaluation, in percent.
    pub fn knn(&self) -> Option<Spread> {
        self.spread(|run| run.record.knn.last().map(|(_, top1)| *top1))
    }

    /// What a step took, in milliseconds.
    pub fn step_ms(&self) -> Option<Spread> {
        self.spread(|run| Some(run.record.seconds_an_image? * self.batch as f64 * 1e3))
    }

    /// The most memory that a run took, in bytes.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.runs.iter().filter_map(|run| run.kept.as_ref()?.peak_bytes).max()
    }

    /// The report's line for it: what came of it, its accuracy beside the published one, and whether that was expected.
    pub fn line(&self) -> String {
        let mut parts = vec![self.word()];
        parts.extend(self.knn().map(|knn| format!("k-NN {} %", knn.word(1))));
        parts.extend(self.published.iter().map(|published| format!("published {published}")));
        parts.extend(self.verdict());
        parts.join(" · ")
    }
}

#[cfg(test)]
mod tests {
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
        let kept = status.map(|status| Kept {
            status,
            error: error.map(str::to_owned),
            seconds: 1.0,
            peak_bytes: None,
        });
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
            "trains · k-NN 50.0 ± 0.0 % · published 72.8 · as expected",
        );
        check(
            vec![uniform(7), uniform(9)],
            collapses,
            Some(Met::Yes),
            "collapses to uniform, since steps 7 to 9 · k-NN 51.0 ± 0.0 % · published 72.8 · as expected",
        );
        check(
            vec![uniform(7)],
            trains,
            Some(Met::No),
            "collapses to uniform, since step 7 · k-NN 51.0 % · published 72.8 · expected that it trains",
        );
        check(
            vec![trained(), uniform(7), run(Some(1), None, Some("full disk"))],
            collapses,
            Some(Met::Partly(1, 3)),
            "trains with 1 seed, collapses to uniform with 1 seed, since step 7, fails with 1 seed: full disk · \
             k-NN 50.3 ± 0.6 % · published 72.8 · expected that it collapses to uniform: so with 1 of 3 seeds",
        );
        check(
            vec![run(Some(130), None, None), run(None, None, None)],
            trains,
            Some(Met::Unknown),
            "not finished · k-NN 50.0 ± 0.0 % · published 72.8 · expected that it trains: not known yet",
        );
        check(vec![trained()], None, None, "trains · k-NN 50.0 % · published 72.8");
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
}
