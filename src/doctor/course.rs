//! The tests for collapse, over the steps of a run.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Steps in a row for which a test must hold.
pub const STEPS: u64 = 50;
/// To uniform: the targets' mean entropy is over this part of ln K…
pub const UNIFORM: f64 = 0.98;
/// …and the student has less than this to learn, in nats.
pub const DIVERGENCE: f64 = 0.02;
/// To one prototype: the entropy of the batch's mean target is under this part of ln K.
pub const ONE: f64 = 0.05;
/// To one target, wherever it lies: what a target says of its picture (the entropy of the batch's mean target less the mean entropy of
/// single ones) is under this part of ln K, after it was over twice as much.
pub const SAME: f64 = 0.005;

/// How training collapses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Way {
    /// Every picture gets the same target, spread evenly over all prototypes.
    ToUniform,
    /// Every picture gets the same target, one prototype.
    ToOnePrototype,
    /// Every picture gets the same target, neither of these. A teacher that copies the student comes to it under centring, which drives
    /// the target on from step to step.
    ToOneTarget,
}

impl Way {
    /// In words, after "collapsed".
    pub fn word(self) -> &'static str {
        match self {
            Way::ToUniform => "to uniform",
            Way::ToOnePrototype => "to one prototype",
            Way::ToOneTarget => "to one target",
        }
    }
}

/// A step's line of the record, as far as the doctor reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub step: u64,
    pub loss: Option<f64>,
    pub teacher_temperature: Option<f64>,
    pub teacher_momentum: Option<f64>,
    pub teacher_entropy: Option<f64>,
    pub batch_entropy: Option<f64>,
    pub kl: Option<f64>,
    pub center_norm: Option<f64>,
    pub used_prototypes: Option<f64>,
    pub agreement: Option<f64>,
    pub effective_rank: Option<f64>,
}

impl Reading {
    /// What a step's line says; none for other lines.
    pub fn of(line: &Map<String, Value>) -> Option<Reading> {
        if line.get("event")?.as_str()? != "step" {
            return None;
        }
        let number = |key: &str| line.get(key).and_then(Value::as_f64);
        Some(Reading {
            step: line.get("step")?.as_u64()?,
            loss: number("loss"),
            teacher_temperature: number("teacher_temperature"),
            teacher_momentum: number("teacher_momentum"),
            teacher_entropy: number("teacher_entropy"),
            batch_entropy: number("batch_entropy"),
            kl: number("kl"),
            center_norm: number("center_norm"),
            used_prototypes: number("used_prototypes"),
            agreement: number("agreement"),
            effective_rank: number("effective_rank"),
        })
    }
}

/// Steps in a row at which a test for collapse held.
#[derive(Clone, Debug, PartialEq)]
pub struct Collapse {
    pub way: Way,
    /// The first of them, and how many there were.
    pub since: u64,
    pub steps: u64,
    /// Whether the test still held at the last step.
    pub lasts: bool,
    /// The line of the first of them.
    pub first: Reading,
}

/// The tests, step by step. What it knows follows from the record's lines alone, so that a resumed run that reads them again goes
/// on counting where it was.
#[derive(Clone, Debug)]
pub struct Course {
    /// ln K; none where the number of prototypes is not known.
    most: Option<f64>,
    /// Whether a batch has pictures to tell apart.
    several: bool,
    /// The row that goes on: the last step was in it.
    row: Option<Collapse>,
    /// The last row that was long enough.
    found: Option<Collapse>,
    /// Whether targets have told pictures apart: a network that has yet to learn it has lost nothing.
    told_apart: bool,
    last: Option<Reading>,
}

impl Course {
    /// For targets over so many prototypes, in batches of so many pictures.
    pub fn new(prototypes: Option<usize>, pictures: usize) -> Self {
        let most = prototypes.filter(|k| *k > 1).map(|k| (k as f64).ln());
        Course { most, several: pictures > 1, row: None, found: None, told_apart: false, last: None }
    }

    /// The next step. Says whether it is the one with which a row of steps is long enough.
    pub fn step(&mut self, reading: Reading) -> bool {
        let way = self.way(&reading);
        self.told_apart |= self.telling(&reading).is_some_and(|part| part > 2.0 * SAME);
        let row = self.row.take().filter(|row| Some(row.way) == way);
        self.row = way.map(|way| match row {
            Some(row) => Collapse { steps: row.steps + 1, ..row },
            None => Collapse { way, since: reading.step, steps: 1, lasts: true, first: reading.clone() },
        });
        self.last = Some(reading);
        match self.row.as_ref().filter(|row| row.steps >= STEPS) {
            Some(row) => {
                self.found = Some(row.clone());
                row.steps == STEPS
            }
            None => {
                self.found.iter_mut().for_each(|over| over.lasts = false);
                false
            }
        }
    }

    /// The test that holds for a step. A loss that has no divergence is judged by its targets alone.
    fn way(&self, reading: &Reading) -> Option<Way> {
        let most = self.most?;
        if reading.batch_entropy.is_some_and(|entropy| entropy < ONE * most) {
            return Some(Way::ToOnePrototype);
        }
        let even = reading.teacher_entropy.is_some_and(|entropy| entropy > UNIFORM * most);
        if even {
            return reading.kl.is_none_or(|kl| kl < DIVERGENCE).then_some(Way::ToUniform);
        }
        let same = self.several && self.told_apart && self.telling(reading).is_some_and(|part| part < SAME);
        same.then_some(Way::ToOneTarget)
    }

    /// What a target says of its picture, as a part of ln K: the entropy of the batch's mean target less the mean of theirs.
    fn telling(&self, reading: &Reading) -> Option<f64> {
        Some((reading.batch_entropy? - reading.teacher_entropy?) / self.most?)
    }

    /// The last collapse, whether it lasts or is over.
    pub fn collapse(&self) -> Option<&Collapse> {
        self.found.as_ref()
    }

    /// Whether training is collapsed at the last step.
    pub fn collapsed(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.lasts)
    }

    /// A row that goes on and is not long enough yet.
    pub fn suspicion(&self) -> Option<&Collapse> {
        self.row.as_ref().filter(|row| row.steps < STEPS)
    }

    /// The last step's line.
    pub fn last(&self) -> Option<&Reading> {
        self.last.as_ref()
    }

    /// ln K.
    pub fn most(&self) -> Option<f64> {
        self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(step: u64, targets: f64, batch: f64, kl: Option<f64>) -> Reading {
        let most = 16f64.ln();
        let (teacher_entropy, batch_entropy) = (Some(targets * most), Some(batch * most));
        Reading { step, teacher_entropy, batch_entropy, kl, ..Reading::default() }
    }

    /// Stretches of steps, each alike: (steps, targets' entropy, batch's entropy, KL), entropies as parts of ln K.
    fn check(stretches: &[(u64, f64, f64, f64)], expected: Option<(Way, u64, u64, bool)>) {
        let mut course = Course::new(Some(16), 8);
        let mut alarms = Vec::new();
        let mut step = 0;
        for &(steps, targets, batch, kl) in stretches {
            for _ in 0..steps {
                if course.step(reading(step, targets, batch, (!kl.is_nan()).then_some(kl))) {
                    alarms.push(step);
                }
                step += 1;
            }
        }
        let found = course.collapse().map(|found| (found.way, found.since, found.steps, found.lasts));
        assert_eq!(found, expected, "{stretches:?}");
        assert_eq!(alarms.last().copied(), expected.map(|(_, since, _, _)| since + STEPS - 1));
    }

    #[test]
    fn fifty_steps_in_a_row_are_a_collapse() {
        let (healthy, uniform, one) = ((0.3, 0.9, 0.5), (0.99, 1.0, 0.01), (0.01, 0.04, 0.0));
        let of = |steps, (targets, batch, kl): (f64, f64, f64)| (steps, targets, batch, kl);
        check(&[of(200, healthy)], None);
        check(&[of(7, healthy), of(49, uniform)], None);
        check(&[of(7, healthy), of(50, uniform)], Some((Way::ToUniform, 7, 50, true)));
        check(&[of(7, healthy), of(80, one)], Some((Way::ToOnePrototype, 7, 80, true)));
        // a step in between begins the count anew
        check(&[of(49, one), of(1, healthy), of(49, one)], None);
        check(&[of(30, one), of(30, uniform)], None);
        check(&[of(60, uniform), of(5, healthy)], Some((Way::ToUniform, 0, 60, false)));
        check(&[of(60, uniform), of(5, healthy), of(51, one)], Some((Way::ToOnePrototype, 65, 51, true)));
        // flat targets that the student has yet to reach are no collapse; a loss without a divergence is not asked for one
        check(&[(90, 0.99, 1.0, 0.03)], None);
        check(&[(90, 0.99, 1.0, f64::NAN)], Some((Way::ToUniform, 0, 90, true)));
        // one target for all is a collapse once pictures had targets of their own
        let same = (0.6, 0.602, 0.5);
        check(&[of(7, healthy), of(50, same)], Some((Way::ToOneTarget, 7, 50, true)));
        check(&[of(90, same)], None);
        check(&[of(7, healthy), (90, 0.6, 0.607, 0.5)], None);
        // sharp targets are healthy as long as pictures differ in them
        check(&[(90, 0.001, 0.9, 0.001)], None);
    }

    #[test]
    fn other_lines_are_not_steps_and_null_is_no_number() {
        let of = |text: &str| Reading::of(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap());
        assert_eq!(of(r#"{"event":"knn","step":3,"top1":5.0}"#), None);
        let line = of(r#"{"event":"step","step":3,"epoch":0,"kl":null,"loss":1.5}"#).unwrap();
        assert_eq!(line, Reading { step: 3, loss: Some(1.5), ..Reading::default() });
        // the views of a single picture are to have one target
        let mut lone = Course::new(Some(16), 1);
        assert!((0..99).all(|step| !lone.step(reading(
            step,
            0.6,
            if step == 0 { 0.9 } else { 0.6 },
            Some(0.5)
        ))));
        let mut unknown = Course::new(None, 8);
        assert!((0..99).all(|step| !unknown.step(reading(step, 1.0, 0.0, Some(0.0)))));
    }
}
