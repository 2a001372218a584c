//! What a run came to, in a line.

use super::run::Run;
use crate::doctor::Way;

/// How a run ended, as far as its folder tells.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It came to its end and is not collapsed.
    Trained,
    Collapsed {
        way: Way,
        since: u64,
    },
    Failed(String),
    /// By this signal, or because no more steps were asked for.
    Stopped(&'static str),
    /// It goes on, or was killed.
    Open,
    /// Its record has no steps.
    Empty,
}

impl End {
    /// How a run ended.
    pub fn of(run: &Run) -> End {
        let collapse = run.diagnosis.as_ref().and_then(|diagnosis| diagnosis.collapse.as_ref());
        if let Some(collapse) = collapse.filter(|collapse| collapse.lasts) {
            return End::Collapsed { way: collapse.way, since: collapse.since };
        }
        let ended = run.timings.as_ref().and_then(|timings| timings.ended.as_ref());
        match ended.map(|ended| (ended.status, &ended.failure)) {
            Some((_, Some(failure))) => End::Failed(failure.clone()),
            _ if run.total_steps().is_some_and(|total| total > 0 && run.record.length() >= total) => {
                End::Trained
            }
            Some((130, None)) => End::Stopped("by SIGINT"),
            Some((143, None)) => End::Stopped("by SIGTERM"),
            Some(_) => End::Stopped("as asked"),
            None if run.record.length() == 0 => End::Empty,
            None => End::Open,
        }
    }

    /// Its mark: the class of the page's style, and a sign for those who see no colours.
    pub fn mark(&self) -> (&'static str, &'static str) {
        match self {
            End::Trained => ("trained", "●"),
            End::Collapsed { .. } => ("collapsed", "▼"),
            End::Failed(_) => ("failed", "✕"),
            End::Stopped(_) | End::Open | End::Empty => ("unfinished", "○"),
        }
    }

    /// The same in words.
    pub fn words(&self, run: &Run) -> String {
        let steps = run.record.length();
        let of = run.total_steps().map_or(String::new(), |total| format!(" of {total}"));
        match self {
            End::Trained => format!("trained: {steps} steps"),
            End::Collapsed { way, since } => {
                format!("collapsed {}, since step {since}; {steps}{of} steps", way.word())
            }
            End::Failed(why) => format!("failed after {steps}{of} steps: {why}"),
            End::Stopped(how) => format!("stopped {how} after {steps}{of} steps"),
            End::Open => format!("not at its end: {steps}{of} steps"),
            End::Empty => "no steps were recorded".into(),
        }
    }
}

/// The accuracy of nearest neighbours at the end against that before the first step and that of raw pixels.
pub fn accuracy(run: &Run) -> Option<String> {
    let verdict = run.verdict?;
    let last =
        verdict.teacher.map(|top1| ("teacher", top1)).or(verdict.student.map(|top1| ("student", top1)));
    let percent = |top1: f64| format!("{top1:.1} %");
    let against: Vec<String> = [("at step 0", verdict.untrained), ("from raw pixels", verdict.pixels)]
        .into_iter()
        .filter_map(|(what, top1)| Some(format!("{} {what}", percent(top1?))))
        .collect();
    let against = against.join(", ");
    let k = verdict.k;
    match last {
        Some((network, top1)) if against.is_empty() => {
            Some(format!("{k}-NN of the {network} {}", percent(top1)))
        }
        Some((network, top1)) => {
            Some(format!("{k}-NN of the {network} {}, against {against}", percent(top1)))
        }
        None if against.is_empty() => None,
        None => Some(format!("{k}-NN {against}")),
    }
}
