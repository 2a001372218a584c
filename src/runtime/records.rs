//! Where a run's results go while it lasts, and what it has come to so far.

use std::time::Instant;

use super::account::summary;
use super::drive::Reached;
use super::firing::Run;
use crate::checkpoint::{GraphKeys, RunFolder};
use crate::doctor::Doctor;
use crate::report::logs::Logs;
use crate::report::progress::Progress;
use crate::report::rejected::Rejections;
use crate::report::tables::Summary;
use crate::report::timings::{Ended, Environment, Timings};

/// Where a run's results go.
pub struct Records<'a> {
    pub folder: &'a RunFolder,
    pub keys: &'a GraphKeys,
    pub logs: Logs,
    pub rejections: &'a Rejections,
    pub progress: Progress,
    /// Has read what the record holds from an earlier life of the run.
    pub doctor: Doctor,
    /// When the steps began, and on what.
    pub start: Instant,
    pub environment: Environment,
    /// Tells the most bytes of the device's own memory that were in use at once.
    pub device_peak: Box<dyn Fn() -> Option<u64> + Send + 'a>,
    /// How far the run has come, also when it fails.
    pub reached: Reached,
}

impl Records<'_> {
    /// What the time went into so far.
    pub fn summary(&self, run: &Run<'_>) -> Summary {
        summary(run, self.environment.threads, &self.reached, self.start.elapsed())
    }

    /// Writes the account of the steps so far.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_timings(&self, run: &Run<'_>, ended: Option<Ended>) -> std::io::Result<()> {
        let timings = Timings::of(&self.summary(run), run.steps.start, ended, self.environment.clone());
        let timings = Timings { peak_device_memory_bytes: (self.device_peak)(), ..timings };
        timings.write(&self.folder.timings())
    }
}
