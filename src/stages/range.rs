//! Judging parameters: numbers within their ranges, spans within the run.

use super::declare::{Fault, Problem, Scope};
use crate::optim::schedule::{LrCourse, Schedule, Span};

/// Collects what is out of range.
pub struct Ranges<'s> {
    scope: &'s Scope<'s>,
    problems: Vec<Problem>,
}

impl<'s> Ranges<'s> {
    pub fn new(scope: &'s Scope<'s>) -> Self {
        Ranges { scope, problems: Vec::new() }
    }

    pub fn finish(self) -> Vec<Problem> {
        self.problems
    }

    pub fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.problems.extend(problems);
    }

    pub fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// A number for which `ok` holds; NaN never is one.
    pub fn number(&mut self, name: &str, value: f64, ok: impl Fn(f64) -> bool, expected: &str) {
        if value.is_nan() || !ok(value) {
            self.push(Problem::parameter(name, expected, format!("{value:?}")));
        }
    }

    /// A count within bounds, both included.
    pub fn count(&mut self, name: &str, value: usize, least: usize, most: usize) {
        let problem = out_of(name, value, least, most);
        self.problems.extend(problem);
    }

    /// A count within bounds that another parameter sets.
    pub fn count_by(&mut self, other: &str, name: &str, value: usize, least: usize, most: usize) {
        let problem = out_of(name, value, least, most);
        self.problems.extend(problem.map(|problem| problem.by(Fault::Parameter(other.into()))));
    }

    /// Every value that a schedule starts from and goes to.
    pub fn schedule(&mut self, name: &str, schedule: &Schedule, ok: fn(f64) -> bool, expected: &str) {
        match *schedule {
            Schedule::Constant(value) => self.number(&format!("{name}.0"), value, ok, expected),
            Schedule::Cosine { from, to } | Schedule::Linear { from, to, .. } => {
                self.number(&format!("{name}.from"), from, ok, expected);
                self.number(&format!("{name}.to"), to, ok, expected);
            }
        }
        if let Schedule::Linear { over, to, .. } = *schedule {
            let name = format!("{name}.over");
            if self.span(&name, over) && longer(over, self.scope) == Some(true) {
                let reached = format!("the run ends before {to} is reached");
                self.push(over_run(&name, over, self.scope).help(reached).note());
            }
        }
    }

    /// The learning rate's course: a warm-up that ends before the run does, an end that is no less than 0.
    pub fn course(&mut self, name: &str, course: &LrCourse) {
        let (LrCourse::Linear { warmup, end } | LrCourse::Cosine { warmup, end }) = *course else { return };
        self.number(
            &format!("{name}.end"),
            end,
            |end| (0.0..1e6).contains(&end),
            "a finite number, 0 or more",
        );
        let name = format!("{name}.warmup");
        if self.span(&name, warmup) && longer(warmup, self.scope) == Some(true) {
            let help = "shorten the warm-up, or lengthen the run's `duration`";
            self.push(over_run(&name, warmup, self.scope).help(help));
        }
    }

    /// A length of training: finite, not negative, a fraction at most 1. Says whether it is one.
    pub fn span(&mut self, name: &str, span: Span) -> bool {
        match impossible(span) {
            None => true,
            Some(expected) => {
                self.push(Problem::parameter(name, expected, word(span)));
                false
            }
        }
    }

    /// How often something happens: a span that is not empty.
    pub fn every(&mut self, name: &str, span: Span) {
        let empty = matches!(span, Span::Steps(0))
            || matches!(span, Span::Epochs(part) | Span::Fraction(part) if part == 0.0);
        if self.span(name, span) && empty {
            self.push(Problem::parameter(name, "more than nothing", word(span)));
        }
    }
}

fn out_of(name: &str, value: usize, least: usize, most: usize) -> Option<Problem> {
    let expected = match most {
        usize::MAX => format!("at least {least}"),
        _ => format!("{least} to {most}"),
    };
    let inside = (least..=most).contains(&value);
    (!inside).then(|| Problem::parameter(name, expected, value.to_string()))
}

fn over_run(name: &str, span: Span, scope: &Scope) -> Problem {
    let run = format!("at most the run's {}", word(scope.graph.duration));
    Problem::parameter(name, run, word(span)).by(Fault::Graph("duration".into()))
}

/// What a span should have been, when it can't be one.
pub fn impossible(span: Span) -> Option<&'static str> {
    match span {
        Span::Epochs(epochs) if !(0.0..1e9).contains(&epochs) => Some("a number of epochs, 0 or more"),
        Span::Fraction(part) if !(0.0..=1.0).contains(&part) => Some("a fraction of the run, 0 to 1"),
        _ => None,
    }
}

/// Whether a span is longer than the run, where that can be told without data.
pub fn longer(span: Span, scope: &Scope) -> Option<bool> {
    match (span, scope.graph.duration) {
        (Span::Fraction(part), _) => Some(part > 1.0),
        (Span::Epochs(span), Span::Epochs(run)) => Some(span > run),
        (Span::Steps(span), Span::Steps(run)) => Some(span > run),
        (Span::Epochs(span), Span::Steps(run)) => Some(span * scope.steps_per_epoch? as f64 > run as f64),
        (Span::Steps(span), Span::Epochs(run)) => Some(span as f64 > run * scope.steps_per_epoch? as f64),
        (_, Span::Fraction(_)) => None,
    }
}

/// A span as a graph writes it.
pub fn word(span: Span) -> String {
    match span {
        Span::Epochs(epochs) => format!("Epochs({epochs:?})"),
        Span::Steps(steps) => format!("Steps({steps})"),
        Span::Fraction(part) => format!("Fraction({part:?})"),
    }
}
