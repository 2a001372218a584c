//! Running statistics of batch norms, as PyTorch keeps them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ops::Statistics;
use crate::runtime::stage::{SavedTensor, StageError, State};
use crate::tensor::Float;

/// PyTorch's default: how much of the running value a batch replaces.
const MOMENTUM: Float = 0.1;

/// The running mean and variance of each batch norm in a network, by published key: `head.mlp.1`. The stage whose passes
/// update them owns them; a clone of the handle lets others read them.
#[derive(Clone, Debug, Default)]
pub struct Averages(Arc<Mutex<BTreeMap<String, Running>>>);

impl Averages {
    /// Mean and variance for a norm of this width: PyTorch's first ones, 0 and 1, where none were seen.
    pub fn of(&self, key: &str, width: usize) -> (Vec<Float>, Vec<Float>) {
        let norms = self.norms();
        norms.get(key).cloned().map_or_else(|| (vec![0.0; width], vec![1.0; width]), |n| (n.mean, n.variance))
    }

    /// Starts from what a file of weights holds beside them: `….running_mean` and `….running_var` of norms whose `….weight` is as long.
    ///
    /// # Errors
    /// The key of a norm of which something is missing or of another length.
    pub fn begin(&self, file: &State) -> Result<(), String> {
        let numbers = |key: &str, what: &str| match file.get(&format!("{key}.{what}")) {
            Some(SavedTensor::F32 { values, .. }) => Some(values.clone()),
            _ => None,
        };
        let mut norms = self.norms();
        for key in file.keys().filter_map(|key| key.strip_suffix(".running_mean")) {
            let of = |what| numbers(key, what).ok_or_else(|| key.to_owned());
            let (mean, variance, gain) = (of("running_mean")?, of("running_var")?, of("weight")?);
            if [mean.len(), variance.len()] != [gain.len(); 2] {
                return Err(key.to_owned());
            }
            norms.insert(key.to_owned(), Running { mean, variance, batches: 0 });
        }
        Ok(())
    }

    /// A panic elsewhere leaves whole values behind.
    fn norms(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
struct Running {
    mean: Vec<Float>,
    variance: Vec<Float>,
    batches: u64,
}

/// The averages with what is to be taken into them.
#[derive(Clone, Debug, Default)]
pub struct RunningStatistics {
    averages: Averages,
    /// What this step's passes saw, not yet committed.
    pending: Vec<(String, Statistics)>,
}

impl RunningStatistics {
    /// Takes passes into these averages.
    pub fn new(averages: Averages) -> Self {
        RunningStatistics { averages, pending: Vec::new() }
    }

    /// Notes what a pass saw. Nothing changes before [`RunningStatistics::commit`].
    pub fn saw(&mut self, seen: Vec<(String, Statistics)>) {
        self.pending.extend(seen);
    }

    /// Forgets what a step saw that did not come to its end.
    pub fn forget(&mut self) {
        self.pending.clear();
    }

    /// Takes what the step saw into the running values; the variance without bias, as PyTorch does.
    pub fn commit(&mut self) {
        let mut norms = self.averages.norms();
        for (key, seen) in self.pending.drain(..) {
            let width = seen.mean.len();
            let fresh = || Running { mean: vec![0.0; width], variance: vec![1.0; width], batches: 0 };
            let running = norms.entry(key).or_insert_with(fresh);
            let unbiased = seen.rows as Float / (seen.rows.max(2) - 1) as Float;
            let blend = |old: &mut Float, new: Float| *old += MOMENTUM * (new - *old);
            running.mean.iter_mut().zip(seen.mean).for_each(|(old, new)| blend(old, new));
            running.variance.iter_mut().zip(seen.variance).for_each(|(old, new)| blend(old, unbiased * new));
            running.batches += 1;
        }
    }

    /// Under the published keys of the weights' file.
    pub fn save(&self) -> State {
        let norms = self.averages.norms();
        let entries = norms.iter().flat_map(|(key, n)| {
            let numbers =
                |values: &Vec<Float>| SavedTensor::F32 { dims: vec![values.len()], values: values.clone() };
            let batches = SavedTensor::U64 { dims: vec![], values: vec![n.batches] };
            [
                (format!("weights/{key}.running_mean"), numbers(&n.mean)),
                (format!("weights/{key}.running_var"), numbers(&n.variance)),
                (format!("weights/{key}.num_batches_tracked"), batches),
            ]
        });
        entries.collect()
    }

    /// Takes back what [`RunningStatistics::save`] gave.
    pub fn restore(&mut self, mut state: State) -> Result<(), StageError> {
        let mut norms = self.averages.norms();
        norms.clear();
        let means = state
            .keys()
            .filter_map(|k| Some(k.strip_prefix("weights/")?.strip_suffix(".running_mean")?.to_string()));
        for key in means.collect::<Vec<_>>() {
            let mut take = |what: &str| state.remove(&format!("weights/{key}.{what}"));
            match (take("running_mean"), take("running_var"), take("num_batches_tracked")) {
                (
                    Some(SavedTensor::F32 { values: mean, .. }),
                    Some(SavedTensor::F32 { values: variance, .. }),
                    Some(SavedTensor::U64 { values: batches, .. }),
                ) if batches.len() == 1 => {
                    norms.insert(key, Running { mean, variance, batches: batches[0] });
                }
                _ => return Err(StageError::Restore(format!("the statistics of {key} are incomplete"))),
            }
        }
        match state.keys().next() {
            Some(key) => Err(StageError::Restore(format!("{key} is nothing that this stage keeps"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(entries: &[(&str, &[Float])]) -> State {
        let saved = |values: &[Float]| SavedTensor::F32 { dims: vec![values.len()], values: values.to_vec() };
        entries.iter().map(|(key, values)| (key.to_string(), saved(values))).collect()
    }

    #[test]
    fn a_file_of_weights_brings_its_statistics_and_a_torn_one_is_refused() {
        let whole = [
            ("bn1.weight", &[1.0, 1.0][..]),
            ("bn1.running_mean", &[2.0, 3.0]),
            ("bn1.running_var", &[4.0, 5.0]),
        ];
        let averages = Averages::default();
        averages.begin(&state(&whole)).unwrap();
        assert_eq!(averages.of("bn1", 2), (vec![2.0, 3.0], vec![4.0, 5.0]));
        assert_eq!(averages.of("bn2", 1), (vec![0.0], vec![1.0]));
        for torn in [&whole[..2], &[whole[0], whole[1], ("bn1.running_var", &[4.0])]] {
            assert_eq!(averages.begin(&state(torn)), Err("bn1".to_owned()));
        }
    }

    #[test]
    fn a_step_that_comes_to_no_end_leaves_nothing() {
        let seen = || vec![("bn1".to_owned(), Statistics { mean: vec![10.0], variance: vec![3.0], rows: 4 })];
        let averages = Averages::default();
        let mut statistics = RunningStatistics::new(averages.clone());
        statistics.saw(seen());
        statistics.forget();
        statistics.commit();
        assert_eq!(averages.of("bn1", 1), (vec![0.0], vec![1.0]));
        statistics.saw(seen());
        statistics.commit();
        // a tenth of the mean, and of the variance without bias, 4
        let (mean, variance) = averages.of("bn1", 1);
        assert!((mean[0] - 1.0).abs() < 1e-6 && (variance[0] - 1.3).abs() < 1e-6, "{mean:?} {variance:?}");
    }
}
