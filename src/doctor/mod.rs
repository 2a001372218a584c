//! The collapse doctor: whether training has collapsed, which way, since when, why, and what to do about it.
//!
//! ```text
//! figures    what it reads off a step as it runs
//! course     the tests for collapse, over a run's steps
//! subject    what it knows of the graph
//! causes     the graph's settings that may be at fault, and their remedies
//! diagnosis  all that in words and as JSON
//! history    a finished run, from its folder
//! ```
//! It judges the lines of the run's record and nothing else, so a run that lasts, one that is resumed and one that is long over are
//! judged alike.

pub mod causes;
pub mod course;
pub mod diagnosis;
pub mod figures;
pub mod history;
pub mod subject;

use std::io;
use std::path::Path;

use serde_json::{Map, Value};

pub use course::{Collapse, Way};
pub use diagnosis::Diagnosis;
pub use figures::Figures;

use crate::plan::Plan;
use course::{Course, Reading};
use subject::Subject;

/// Follows a run.
#[derive(Clone, Debug)]
pub struct Doctor {
    subject: Subject,
    course: Course,
}

impl Doctor {
    /// For a run of this plan, before its first step.
    pub fn new(plan: &Plan) -> Self {
        let subject = Subject::of(plan);
        Doctor { course: Course::new(subject.prototypes, subject.global_batch), subject }
    }

    /// The run's length, where opening its data has told more than the graph does.
    pub fn lasting(mut self, total_steps: u64) -> Self {
        self.subject.total_steps = Some(total_steps);
        self
    }

    /// Reads the steps that a record holds; the last line may be cut short. A missing record holds none.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(&mut self, metrics: &Path) -> io::Result<()> {
        let text = match std::fs::read_to_string(metrics) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text?,
        };
        for line in text.lines() {
            if let Ok(line) = serde_json::from_str::<Map<String, Value>>(line) {
                self.line(&line);
            }
        }
        Ok(())
    }

    /// A line of the record. Says whether with it training has collapsed for the first time.
    pub fn line(&mut self, line: &Map<String, Value>) -> bool {
        let before = self.course.collapse().is_some();
        Reading::of(line).is_some_and(|reading| self.course.step(reading) && !before)
    }

    /// Whether `loss` less the targets' entropy is a divergence.
    pub fn has_divergence(&self) -> bool {
        self.subject.has_divergence()
    }

    /// Whether training is collapsed at the last step.
    pub fn collapsed(&self) -> bool {
        self.course.collapsed()
    }

    /// What it has to say.
    pub fn diagnosis(&self) -> Diagnosis {
        let collapse = self.course.collapse().cloned();
        Diagnosis {
            causes: collapse.as_ref().map(|found| causes::causes(&self.subject, found)).unwrap_or_default(),
            collapse,
            suspicion: self.course.suspicion().cloned(),
            last: self.course.last().cloned(),
            prototypes: self.subject.prototypes,
            total_steps: self.subject.total_steps,
        }
    }
}
