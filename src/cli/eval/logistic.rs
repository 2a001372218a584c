//! `dinoflow eval logistic`.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::outcome::OutcomeArgs;
use super::rows::{BothRows, RowsArgs};
use crate::error::Error;
use crate::eval::classifier::Rows;
use crate::eval::features::Wanted;
use crate::eval::logistic::fit::{End, FitError, Fitted, fit};
use crate::eval::logistic::{Tried, best, held_out, published_grid, sweep};
use crate::report::count::Count;

/// The arguments of `dinoflow eval logistic`.
#[derive(Clone, Debug, Args)]
pub struct LogisticArgs {
    #[command(flatten)]
    rows: RowsArgs,
    /// Strengths to choose from, on a tenth of the training pictures that is held out; one alone is taken as it is [default: 45 from 1e-6 to 1e5]
    #[arg(long, value_name = "C,C…", value_delimiter = ',')]
    c: Vec<f64>,
    /// Iterations of the solver for each C
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    iterations: u64,
    /// Which training pictures are held out
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    outcome: OutcomeArgs,
}

impl LogisticArgs {
    /// Chooses C, trains, and says how often it is right.
    pub fn run(&self) -> Result<(), Error> {
        self.outcome.check()?;
        let grid = if self.c.is_empty() { published_grid() } else { self.c.clone() };
        if let Some(c) = grid.iter().find(|c| !(**c > 0.0 && c.is_finite())) {
            return Err(Error::Request(format!("--c {c}: expected a number above 0")));
        }
        let BothRows { train, val, classes, record } = self.rows.both(|_| Wanted::CLS)?;
        let (c, tried) = match grid.as_slice() {
            [c] => (*c, Vec::new()),
            _ => self.choose(&train, classes, &grid)?,
        };
        let Fitted { classifier, fit } = fit(&train, classes, c, self.iterations, None).map_err(failed)?;
        let accuracy = classifier.accuracy(&val.features, &val.labels);
        let lines = [
            "Training of the supervised logistic regression on frozen features completed.".to_owned(),
            format!("Top-1 test accuracy: {:.1}", accuracy.top1),
            format!("Top-5 test accuracy: {:.1}", accuracy.top5),
            format!("obtained for C = {c:.6}"),
        ];
        if let Some(warning) = warning(c, fit.end) {
            // a closed standard error is no reason to stop
            drop(writeln!(std::io::stderr(), "{warning}"));
        }
        let swept: Vec<Value> = tried.iter().map(row).collect();
        let record = json!({
            "subject": record, "seed": self.seed, "classes": classes, "dim": train.dim,
            "train": train.len(), "val": val.len(), "c": c, "top1": accuracy.top1, "top5": accuracy.top5,
            "objective": fit.value, "iterations": fit.iterations, "end": fit.end.word(), "tried": swept,
        });
        self.outcome.give("logistic", &lines, record)
    }

    /// The C that is best on the rows that are held out.
    fn choose(&self, train: &Rows, classes: usize, grid: &[f64]) -> Result<(f64, Vec<Tried>), Error> {
        let (held, kept) = held_out(train.len(), self.seed);
        if held.is_empty() {
            let text =
                format!("of {} training pictures no tenth can be held out to choose C on", train.len());
            return Err(Error::Request(format!("{text}; give one C: --c 1")));
        }
        let mut count = Count::new("C's tried", grid.len());
        let told = |one: &Tried| {
            count.say(&format!("C = {:.6}: Top1 {:.2} on the tenth held out", one.c, one.accuracy.top1));
            count.add(1);
        };
        let (kept, held) = (train.gather(&kept), train.gather(&held));
        let tried = sweep(&kept, &held, classes, grid, self.iterations, told).map_err(failed)?;
        // the grid has at least two, so there is a best one
        Ok((best(&tried).unwrap_or(1.0), tried))
    }
}

/// What is to be said of a fit that is not at its minimum.
fn warning(c: f64, end: End) -> Option<String> {
    let why = match end {
        End::Converged => return None,
        End::Iterations => "its iterations were used up; allow more with --iterations",
        End::LineSearch => {
            "its line search found no lower point, as where features are large; a smaller --c is easier"
        }
    };
    Some(format!("warning: the fit for C = {c:.6} did not converge: {why}"))
}

fn failed(error: FitError) -> Error {
    Error::Failed(error.to_string())
}

fn row(tried: &Tried) -> Value {
    json!({
        "c": tried.c, "top1": tried.accuracy.top1,
        "objective": tried.fit.value, "iterations": tried.fit.iterations, "end": tried.fit.end.word(),
    })
}
