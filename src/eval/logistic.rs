//! Logistic regression on frozen features, the strength of its regularisation chosen on pictures that are held out (Oquab et al. 2023, DINOv2's
//! evaluation): for each C of a grid it is trained on nine tenths of the training rows and judged on the last tenth; with the best C it is
//! trained on all of them, and judged on the validation rows.

pub mod fit;
mod objective;

use fit::{Fit, Fitted};

use super::classifier::{Accuracy, Rows};
use crate::keyed::Key;

/// DINOv2's grid: 45 values of C from 1e-6 to 1e5, evenly spaced in their logarithms.
pub fn published_grid() -> Vec<f64> {
    (0..45).map(|i| 10f64.powf(-6.0 + 11.0 * f64::from(i) / 44.0)).collect()
}

/// What one C came to on the rows that were held out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    pub c: f64,
    pub accuracy: Accuracy,
    pub fit: Fit,
}

/// The C that was best of all that were tried. Of equals the first.
pub fn best(tried: &[Tried]) -> Option<f64> {
    let better = |best: Option<&Tried>, one: &Tried| best.is_none_or(|b| one.accuracy.top1 > b.accuracy.top1);
    let pick = |best, one| if better(best, one) { Some(one) } else { best };
    tried.iter().fold(None, pick).map(|tried| tried.c)
}

/// The places of the rows that C is chosen on, a tenth of `rows`, and of those that it is trained on; both ascend.
pub fn held_out(rows: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..rows).collect();
    Key::new(seed).named("held out").draws().shuffle(&mut order);
    let (held, kept) = order.split_at_mut(rows / 10);
    held.sort_unstable();
    kept.sort_unstable();
    (held.to_vec(), kept.to_vec())
}

/// Trains with every C of a grid, each from where the one before ended: the optimum is one, and the way shorter. `told` hears of each.
pub fn sweep(
    train: &Rows,
    held: &Rows,
    classes: usize,
    grid: &[f64],
    most: u64,
    mut told: impl FnMut(&Tried),
) -> Result<Vec<Tried>, fit::FitError> {
    let mut from = None;
    let mut tried = Vec::with_capacity(grid.len());
    for &c in grid {
        let Fitted { classifier, fit } = fit::fit(train, classes, c, most, from.take())?;
        let one = Tried { c, accuracy: classifier.accuracy(&held.features, &held.labels), fit };
        told(&one);
        tried.push(one);
        from = Some(classifier);
    }
    Ok(tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_the_published_one() {
        let grid = published_grid();
        assert_eq!((grid.len(), grid[0]), (45, 1e-6));
        assert!((grid[44] / 1e5 - 1.0).abs() < 1e-12 && (grid[24] - 1.0).abs() < 1e-12, "{grid:?}");
    }

    #[test]
    fn a_tenth_is_held_out_and_the_first_best_c_is_taken() {
        let (held, kept) = held_out(25, 1);
        assert_eq!((held.len(), kept.len()), (2, 23));
        let mut all = [held.clone(), kept].concat();
        all.sort_unstable();
        assert_eq!(all, (0..25).collect::<Vec<_>>());
        assert_ne!(held_out(1000, 1).0, held_out(1000, 2).0);
        let tried = |c, top1| Tried { c, accuracy: Accuracy { top1, top5: 0.0 }, fit: Fit::default() };
        assert_eq!(best(&[tried(1.0, 5.0), tried(2.0, 7.0), tried(3.0, 7.0)]), Some(2.0));
        assert_eq!(best(&[]), None);
    }
}
