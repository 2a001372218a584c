//! The published linear protocol (section 4.1; the script `eval_linear.py`): a linear classifier trained on a frozen network's features by SGD
//! with momentum 0.9 and no decay, its learning rate falling to 0 by a half cosine in steps of an epoch.
//!
//! Several learning rates are trained side by side on the same batches, each a head of its own.

pub mod augmented;
pub mod head;
mod saved;

use head::Head;
use serde::{Deserialize, Serialize};

use super::classifier::{Accuracy, Classifier, Rows};
use crate::error::Error;
use crate::keyed::Key;

/// What decides a training's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Learning rates for a batch of 256, a head for each.
    pub lrs: Vec<f64>,
    pub batch: usize,
    pub epochs: u64,
    pub seed: u64,
}

impl Protocol {
    /// A head's learning rate in an epoch.
    pub fn lr(&self, head: usize, epoch: u64) -> f64 {
        let turn = std::f64::consts::PI * epoch as f64 / self.epochs.max(1) as f64;
        self.lrs[head] * self.batch as f64 / 256.0 * 0.5 * (1.0 + turn.cos())
    }

    /// The order in which an epoch takes the training rows.
    pub fn order(&self, rows: usize, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rows).collect();
        Key::new(self.seed).named("linear order").with(epoch).draws().shuffle(&mut order);
        order
    }
}

/// What one head came to after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// From 0.
    pub epoch: u64,
    /// Which learning rate, for a batch of 256.
    pub lr: f64,
    /// Mean over the epoch's batches, in nats.
    pub loss: f64,
    /// Training rows that the epoch had: those that could be read.
    pub pictures: usize,
    /// On the validation rows, in percent.
    pub top1: f64,
    pub top5: f64,
}

/// Heads in training.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    pub protocol: Protocol,
    pub heads: Vec<Head>,
    /// Epochs that are done.
    pub epoch: u64,
    /// A line for each head of each epoch that is done.
    pub history: Vec<Line>,
    /// The best line so far and the classifier as it was then.
    pub best: Option<(Line, Classifier)>,
}

impl Training {
    /// Heads at their beginning, for features of width `dim`.
    pub fn new(protocol: Protocol, dim: usize, classes: usize) -> Self {
        let key = Key::new(protocol.seed).named("linear head");
        // all begin alike, so that learning rates are compared and not draws
        let heads = protocol.lrs.iter().map(|_| Head::new(dim, classes, key)).collect();
        Training { protocol, heads, epoch: 0, history: Vec::new(), best: None }
    }

    /// Trains an epoch over `rows` training rows, `batch_of` telling what some of them come to in this epoch, and judges every head by
    /// `val`. `told` hears of every batch that is done. A batch may come back with fewer rows than were asked for, or none.
    ///
    /// # Errors
    /// `batch_of`'s; [`Error::Request`] when it gives no row at all, [`Error::Failed`] when a head's loss or weights are no longer finite. The
    /// heads are then between two epochs and not to be kept.
    pub fn epoch(
        &mut self,
        rows: usize,
        val: &Rows,
        mut batch_of: impl FnMut(u64, &[usize]) -> Result<Rows, Error>,
        mut told: impl FnMut(usize),
    ) -> Result<(), Error> {
        let order = self.protocol.order(rows, self.epoch);
        let mut losses = vec![0.0; self.heads.len()];
        let (mut batches, mut pictures) = (0, 0);
        for places in order.chunks(self.protocol.batch.max(1)) {
            let batch = batch_of(self.epoch, places)?;
            if !batch.labels.is_empty() {
                for (at, (head, loss)) in self.heads.iter_mut().zip(&mut losses).enumerate() {
                    *loss += head.step(&batch, self.protocol.lr(at, self.epoch));
                }
                (batches, pictures) = (batches + 1, pictures + batch.len());
            }
            told(places.len());
        }
        if pictures == 0 {
            return Err(Error::Request(format!("none of the {rows} training pictures can be read")));
        }
        self.finite(&losses)?;
        for (at, loss) in losses.into_iter().enumerate() {
            let Accuracy { top1, top5 } = self.heads[at].classifier.accuracy(&val.features, &val.labels);
            let (epoch, lr, loss) = (self.epoch, self.protocol.lrs[at], loss / f64::from(batches));
            let line = Line { epoch, lr, loss, pictures, top1, top5 };
            self.history.push(line);
            if self.best.as_ref().is_none_or(|(best, _)| top1 > best.top1) {
                self.best = Some((line, self.heads[at].classifier.clone()));
            }
        }
        self.epoch += 1;
        Ok(())
    }

    /// Refuses to go on with a head that has left the numbers, given the sums of the epoch's losses.
    fn finite(&self, losses: &[f64]) -> Result<(), Error> {
        let lost = |(head, loss): (&Head, &f64)| {
            let Classifier { weights, bias, .. } = &head.classifier;
            !(loss.is_finite() && weights.iter().chain(bias).all(|x| x.is_finite()))
        };
        match self.heads.iter().zip(losses).position(lost) {
            None => Ok(()),
            Some(at) => {
                let (lr, epoch) = (self.protocol.lrs[at], self.epoch);
                let text = format!("--lr {lr}: loss or weights are no longer finite in epoch {epoch}");
                Err(Error::Failed(format!("{text}; lower it. What was kept of the epochs before stays")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rates_fall_by_epoch() {
        let protocol = Protocol { lrs: vec![0.1, 1.0], batch: 512, epochs: 4, seed: 0 };
        assert_eq!(protocol.lr(0, 0), 0.2);
        assert!((protocol.lr(1, 2) - 1.0).abs() < 1e-12);
        assert!(protocol.lr(1, 3) > 0.0);
        assert_ne!(protocol.order(50, 0), protocol.order(50, 1));
        assert_eq!(protocol.order(0, 0), Vec::<usize>::new());
    }

    /// A training of two heads on four rows of which `readable` can be read; how many epochs come to an end, and what is said.
    fn check(lr: f64, readable: usize, expected: Result<(), &str>) {
        let protocol = Protocol { lrs: vec![0.1, lr], batch: 2, epochs: 3, seed: 0 };
        let mut training = Training::new(protocol, 1, 2);
        let rows = Rows { dim: 1, features: vec![1.0, -1.0, 2.0, -3.0], labels: vec![0, 1, 1, 0] };
        let batch = |_, places: &[usize]| {
            Ok(rows.gather(&places.iter().copied().filter(|&place| place < readable).collect::<Vec<_>>()))
        };
        let all: Result<Vec<()>, Error> = (0..3).map(|_| training.epoch(4, &rows, batch, |_| ())).collect();
        match (all, expected) {
            (Ok(_), Ok(())) => assert!(training.history.iter().all(|line| line.pictures == readable)),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?}; expected {expected:?}"),
        }
        let kept = training.history.iter().all(|line| line.loss.is_finite() && line.top1.is_finite());
        assert!(kept && training.history.len() == 2 * training.epoch as usize);
    }

    #[test]
    fn what_is_read_is_counted_and_what_is_no_number_refused() {
        check(1.0, 4, Ok(()));
        check(1.0, 3, Ok(()));
        check(1.0, 0, Err("none of the 4 training pictures"));
        check(1e42, 4, Err("no longer finite in epoch 0"));
    }
}
