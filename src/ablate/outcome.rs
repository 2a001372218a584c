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

    /// In a few words: `trains`, `collapses to uniform, since steps 12 to 40`, `trains with 2 seeds, fails with 1: …`.
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
                End::Unlearnt => format!("learns nothing{with}"),
                End::Doubtful(way, steps) => {
                    format!("undecided{with}: its last {steps} steps look like a collapse {}", way.word())
                }
                End::Short(steps) => {
                    format!("too short to tell{with}: {steps} steps, of which a collapse takes {STEPS}")
                }
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
        let ends = self.ends();
        let fits = |end: &&End| match expect {
            Expect::Trains => **end == End::Trained,
            Expect::LearnsNothing => **end == End::Unlearnt,
            Expect::Collapses(way) => **end == End::Collapsed(way),
        };
        let (fitting, telling) =
            (ends.iter().filter(fits).count(), ends.iter().filter(|end| end.tells()).count());
        Some(match (fitting, telling) {
            (0, 0) => Met::Unknown,
            (0, _) => Met::No,
            (fitting, _) if fitting == ends.len() => Met::Yes,
            (fitting, _) => Met::Partly(fitting, ends.len()),
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
            Met::Unknown => format!("expected that it {expected}: not known"),
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

    /// That accuracy after the one before the first step, where it is known: `k-NN 29.5 → 52.0 %`.
    pub fn knn_word(&self) -> Option<String> {
        let untrained = self.spread(|run| match run.record.knn[..] {
            [(0, top1), _, ..] => Some(top1),
            _ => None,
        });
        let before = untrained.map_or(String::new(), |before| format!("{} → ", before.word(1)));
        self.knn().map(|knn| format!("k-NN {before}{} %", knn.word(1)))
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
        parts.extend(self.knn_word());
        parts.extend(self.published.iter().map(|published| format!("published {published}")));
        parts.extend(self.verdict());
        parts.join(" · ")
    }
}

#[cfg(test)]
mod tests;
