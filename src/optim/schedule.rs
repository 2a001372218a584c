//! Values that change over training: constant, linear, cosine, with warm-up.

use serde::{Deserialize, Serialize};

/// A length of training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Span {
    /// Passes over the source.
    Epochs(f64),
    /// Updates of the weights.
    Steps(u64),
    /// A part of the whole run, 0 to 1.
    Fraction(f64),
}

/// The run's lengths in steps, against which spans are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Updates in one pass over the source.
    pub steps_per_epoch: u64,
    /// Updates in the whole run.
    pub total_steps: u64,
}

impl Span {
    /// This span in steps, rounded to the nearest.
    pub fn steps(self, horizon: Horizon) -> u64 {
        match self {
            Span::Epochs(epochs) => (epochs * horizon.steps_per_epoch as f64).round() as u64,
            Span::Steps(steps) => steps,
            Span::Fraction(part) => (part * horizon.total_steps as f64).round() as u64,
        }
    }
}

/// How often a schedule takes a new value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Every {
    /// At every update.
    #[default]
    Step,
    /// At the start of an epoch, as the teacher's temperature does.
    Epoch,
}

/// A value over training, read before a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Schedule {
    /// The same at every step.
    Constant(f64),
    /// From `from` to `to` over `over`, both ends included (`linspace`), then `to`.
    Linear {
        from: f64,
        to: f64,
        over: Span,
        #[serde(default)]
        every: Every,
    },
    /// A half cosine from `from` towards `to` over the whole run, which ends one step short of `to`.
    Cosine { from: f64, to: f64 },
}

impl Schedule {
    /// The value in use at `step`.
    pub fn at(&self, step: u64, horizon: Horizon) -> f64 {
        match *self {
            Schedule::Constant(value) => value,
            Schedule::Linear { from, to, over, every: Every::Step } => {
                linspace(from, to, over.steps(horizon), step)
            }
            Schedule::Linear { from, to, over, every: Every::Epoch } => {
                let epochs = over.steps(horizon).div_ceil(horizon.steps_per_epoch.max(1));
                linspace(from, to, epochs, step / horizon.steps_per_epoch.max(1))
            }
            Schedule::Cosine { from, to } => cosine(from, to, step, horizon.total_steps),
        }
    }
}

/// The course of a learning rate around its peak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum LrCourse {
    /// The peak throughout.
    Constant,
    /// Linear warm-up from 0 to the peak (both included), then a straight line towards `end`.
    Linear {
        #[serde(default = "no_steps")]
        warmup: Span,
        #[serde(default)]
        end: f64,
    },
    /// Linear warm-up from 0 to the peak (both included, so the peak stands twice), then a half cosine towards `end`.
    Cosine {
        #[serde(default = "no_steps")]
        warmup: Span,
        #[serde(default)]
        end: f64,
    },
}

fn no_steps() -> Span {
    Span::Steps(0)
}

impl LrCourse {
    /// The learning rate at `step` for this peak.
    pub fn at(&self, peak: f64, step: u64, horizon: Horizon) -> f64 {
        let (warmup, end) = match *self {
            LrCourse::Constant => return peak,
            LrCourse::Linear { warmup, end } | LrCourse::Cosine { warmup, end } => {
                (warmup.steps(horizon), end)
            }
        };
        if step < warmup {
            return linspace(0.0, peak, warmup, step);
        }
        let (after, length) = (step - warmup, horizon.total_steps.saturating_sub(warmup));
        match self {
            LrCourse::Linear { .. } => peak + (end - peak) * after as f64 / length.max(1) as f64,
            _ => cosine(peak, end, after, length),
        }
    }
}

/// Entry `i` of `count` evenly spaced values from `from` to `to`, both included; `to` past the end.
fn linspace(from: f64, to: f64, count: u64, i: u64) -> f64 {
    match count {
        _ if i >= count => to,
        1 => from,
        _ => from + (to - from) * i as f64 / (count - 1) as f64,
    }
}

fn cosine(from: f64, to: f64, i: u64, length: u64) -> f64 {
    let turn = std::f64::consts::PI * i.min(length) as f64 / length.max(1) as f64;
    to + 0.5 * (from - to) * (1.0 + turn.cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Horizon = Horizon { steps_per_epoch: 4, total_steps: 12 };

    #[test]
    fn a_warm_up_includes_both_ends() {
        let course = LrCourse::Cosine { warmup: Span::Epochs(1.0), end: 0.0 };
        let at = |step| course.at(1.0, step, TEN);
        assert_eq!([at(0), at(3), at(4)], [0.0, 1.0, 1.0]);
        assert!(at(11) > 0.0 && at(11) < at(10));
    }

    #[test]
    fn the_temperature_moves_by_epoch() {
        let warm = Schedule::Linear { from: 0.04, to: 0.07, over: Span::Epochs(3.0), every: Every::Epoch };
        let at = |step| (warm.at(step, TEN) * 1e6).round() / 1e6;
        assert_eq!([at(0), at(3), at(4), at(8), at(11)], [0.04, 0.04, 0.055, 0.07, 0.07]);
    }
}
