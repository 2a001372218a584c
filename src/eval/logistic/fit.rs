//! The minimum for one C, by L-BFGS (Nocedal and Wright 2006, section 7.2) with the line search of Moré and Thuente.

use argmin::core::{Executor, Gradient, State, TerminationReason};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

use super::objective::Objective;
use crate::eval::classifier::{Classifier, Rows};

/// Why a fit ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// At the minimum: the slope is flat, or the value changes no more.
    #[default]
    Converged,
    /// After as many iterations as were allowed, on its way.
    Iterations,
    /// Where the line search found no better point on a slope that is not flat.
    LineSearch,
}

impl End {
    /// The word in results.
    pub fn word(self) -> &'static str {
        match self {
            End::Converged => "converged",
            End::Iterations => "iterations",
            End::LineSearch => "line search",
        }
    }
}

/// How a fit came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// The objective's value: mean loss and regularisation.
    pub value: f64,
    pub iterations: u64,
    pub end: End,
}

/// A classifier with how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    pub classifier: Classifier,
    pub fit: Fit,
}

/// A regression that has no minimum to be found.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    #[error("C must be a number above 0, not {0}")]
    C(f64),
    #[error("there is no row to train on")]
    Empty,
    #[error("the solver gave up with C = {c}: {reason}")]
    Solver { c: f64, reason: String },
}

/// Steps whose change of slope is remembered.
const REMEMBERED: usize = 10;
/// Length of the slope at which the minimum is reached: below it f32 products are noise.
const FLAT: f64 = 1e-6;
/// Change of the value, in nats, at which it is reached too.
const STILL: f64 = 1e-10;

/// Trains on rows whose labels are below `classes`, for at most so many iterations, from a classifier or from nothing.
///
/// # Errors
/// When C is not above 0, or there is no row.
pub fn fit(
    rows: &Rows,
    classes: usize,
    c: f64,
    most: u64,
    from: Option<Classifier>,
) -> Result<Fitted, FitError> {
    if !(c > 0.0 && c.is_finite()) {
        return Err(FitError::C(c));
    }
    if rows.labels.is_empty() {
        return Err(FitError::Empty);
    }
    let from = from.unwrap_or_else(|| Classifier::zeros(rows.dim, classes));
    let start: Vec<f64> = from.weights.iter().chain(&from.bias).map(|&x| f64::from(x)).collect();
    let gave_up = |e: argmin::core::Error| FitError::Solver { c, reason: e.to_string() };
    let search = MoreThuenteLineSearch::new().with_c(1e-4, 0.9).map_err(gave_up)?;
    let solver = LBFGS::new(search, REMEMBERED).with_tolerance_grad(FLAT).map_err(gave_up)?;
    let solver = solver.with_tolerance_cost(STILL).map_err(gave_up)?;
    let run = Executor::new(Objective::new(rows, classes, c), solver)
        .configure(|state| state.param(start.clone()).max_iters(most))
        .timer(false)
        .run()
        .map_err(gave_up)?;
    let state = run.state();
    let best = state.get_best_param().unwrap_or(&start);
    let end = match state.get_termination_reason() {
        Some(TerminationReason::SolverConverged) => End::Converged,
        Some(TerminationReason::MaxItersReached) => End::Iterations,
        // at a minimum there is no way down to search along
        _ => match flat(&Objective::new(rows, classes, c), best).map_err(gave_up)? {
            true => End::Converged,
            false => End::LineSearch,
        },
    };
    Ok(Fitted {
        classifier: Objective::classifier(rows.dim, classes, best),
        fit: Fit { value: state.get_best_cost(), iterations: state.get_iter(), end },
    })
}

fn flat(objective: &Objective<'_>, at: &Vec<f64>) -> Result<bool, argmin::core::Error> {
    let squares = objective.gradient(at)?.iter().map(|x| x * x).sum::<f64>();
    Ok(squares.sqrt() < FLAT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Key;

    /// Clusters of `classes`, (rows, dim).
    fn clusters(rows: usize, dim: usize, classes: usize) -> Rows {
        let mut draws = Key::new(3).draws();
        let centres: Vec<f64> = (0..classes * dim).map(|_| draws.normal()).collect();
        let labels: Vec<u32> = (0..rows).map(|_| draws.below(classes as u64) as u32).collect();
        let near = |&label: &u32| centres[label as usize * dim..][..dim].to_vec();
        let features = labels.iter().flat_map(near).map(|x| (x + draws.normal()) as f32).collect();
        Rows { dim, features, labels }
    }

    #[test]
    fn the_slope_is_gone_at_the_end_wherever_it_began() {
        for (dim, classes, c) in [(4, 3, 1.0), (16, 5, 1e-3), (8, 2, 100.0)] {
            let rows = &clusters(600, dim, classes);
            let found = fit(rows, classes, c, 1000, None).unwrap();
            let at: Vec<f64> = [&found.classifier.weights[..], &found.classifier.bias[..]]
                .concat()
                .iter()
                .map(|&x| f64::from(x))
                .collect();
            let slope = Objective::new(rows, classes, c).gradient(&at).unwrap();
            assert!(slope.iter().all(|x| x.abs() < 2e-5), "{c}: {slope:?}");
            assert_eq!(found.fit.end, End::Converged, "{c}: {:?}", found.fit);
            let cut_short = fit(rows, classes, c, 2, None).unwrap().fit;
            assert_eq!((cut_short.end, cut_short.iterations), (End::Iterations, 2), "{c}");
            let other = fit(rows, classes, 10.0 * c, 1000, None).unwrap().classifier;
            let again = fit(rows, classes, c, 1000, Some(other)).unwrap();
            assert!((again.fit.value - found.fit.value).abs() < 1e-6, "{again:?}");
        }
    }

    #[test]
    fn threads_change_nothing() {
        let rows = &clusters(5000, 12, 4);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fit(rows, 4, 0.1, 1000, None).unwrap())
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn what_has_no_minimum_is_refused_and_one_class_is_none_to_tell_apart() {
        let rows = &Rows { dim: 1, features: vec![1.0, 2.0], labels: vec![0, 0] };
        assert!(matches!(fit(rows, 1, 0.0, 10, None), Err(FitError::C(_))));
        assert!(matches!(fit(rows, 1, f64::NAN, 10, None), Err(FitError::C(_))));
        let none = &Rows { dim: 1, ..Rows::default() };
        assert!(matches!(fit(none, 1, 1.0, 10, None), Err(FitError::Empty)));
        let one = fit(rows, 1, 1.0, 10, None).unwrap();
        assert_eq!(one.fit.end, End::Converged);
        assert_eq!((one.fit.value, one.classifier.accuracy(&[1.0, 2.0], &[0, 0]).top1), (0.0, 100.0));
    }
}
