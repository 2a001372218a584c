//! How one run of an ablation ended.

use super::result::RunResult;
use crate::doctor::Way;
use crate::doctor::course::STEPS;

/// Steps at a run's end that look like a collapse and leave it open whether it trains.
const DOUBTFUL: u64 = 10;

/// How one run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It came to its end, is not collapsed, and its neighbours, where they were asked, are better than the untrained network's.
    Trained,
    /// It came to its end and is not collapsed, and its neighbours are no better than the untrained network's. Targets can
    /// differ from picture to picture and mean nothing: batch norm in the head pulls them apart.
    Unlearnt,
    /// It is collapsed, whether that stopped it or not.
    Collapsed(Way),
    /// It came to its end, and so many steps there look like a collapse: too few to call it one, too many to say that it trains.
    Doubtful(Way, u64),
    /// It came to its end before a collapse could have been told: after so many steps.
    Short(u64),
    /// It failed, with why.
    Failed(String),
    /// It has not come to its end, or has not begun.
    Unfinished,
}

impl End {
    /// How a run ended.
    pub fn of(run: &RunResult) -> End {
        let Some(kept) = &run.kept else { return End::Unfinished };
        if let Some(error) = &kept.error {
            return End::Failed(error.clone());
        }
        let Some(diagnosis) = run.diagnosis.as_ref().filter(|_| kept.finished()) else {
            return End::Unfinished;
        };
        let collapse = diagnosis.collapse.as_ref().filter(|collapse| collapse.lasts);
        let doubtful = diagnosis.suspicion.as_ref().filter(|row| row.steps >= DOUBTFUL);
        match (collapse, doubtful) {
            (Some(collapse), _) => End::Collapsed(collapse.way),
            (None, _) if diagnosis.steps() < STEPS => End::Short(diagnosis.steps()),
            (None, Some(row)) => End::Doubtful(row.way, row.steps),
            (None, None) => match run.record.knn[..] {
                [(0, before), .., (_, after)] if after <= before => End::Unlearnt,
                _ => End::Trained,
            },
        }
    }

    /// Whether it says anything of what was expected.
    pub fn tells(&self) -> bool {
        !matches!(self, End::Unfinished | End::Doubtful(..) | End::Short(_))
    }
}
