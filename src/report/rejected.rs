//! `rejected.jsonl`: pictures that could not be used, and what took their place in training.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Result, Write};
use std::path::Path;
use std::sync::Mutex;

use serde::Serialize;

use crate::runtime::fault::lock;

/// A picture that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// The step that was to have it.
    pub step: u64,
    /// Its place in the whole run.
    pub sequence: u64,
    /// Its index in the source, and its name there.
    pub index: usize,
    pub name: String,
    pub reason: String,
    /// The index of the picture in its place.
    pub replaced_by: usize,
}

/// A labelled picture that an evaluation had to do without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// What looked on between two steps: `knn`.
    pub event: &'static str,
    /// Updates before it did.
    pub step: u64,
    /// The parameter that names the picture's source: `train`, `val`.
    pub source: &'static str,
    /// Its index in that source, and its name there.
    pub index: usize,
    pub name: String,
    pub reason: String,
}

/// Collects rejections from all workers until the step that they belong to is done: those of pictures fetched ahead are not
/// yet part of the run, and their order must not depend on who was faster.
#[derive(Debug, Default)]
pub struct Rejections {
    /// By sequence; one place may see several, in the order in which they were tried.
    waiting: Mutex<BTreeMap<u64, Vec<Rejected>>>,
    left_out: Mutex<Vec<LeftOut>>,
}

impl Rejections {
    /// Reports a picture.
    pub fn report(&self, rejected: Rejected) {
        lock(&self.waiting).entry(rejected.sequence).or_default().push(rejected);
    }

    /// Appends those up to and including `step` to the log; returns how many.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn append(&self, path: &Path, step: u64) -> Result<u64> {
        let done: Vec<Rejected> = {
            let mut waiting = lock(&self.waiting);
            let all = std::mem::take(&mut *waiting).into_iter();
            let (done, later) = all.partition(|(_, of)| of.iter().all(|r| r.step <= step));
            *waiting = later;
            let done: BTreeMap<u64, Vec<Rejected>> = done;
            done.into_values().flatten().collect()
        };
        write(path, &done)?;
        Ok(done.len() as u64)
    }

    /// Reports a picture that an evaluation leaves out.
    pub fn leave_out(&self, left_out: LeftOut) {
        lock(&self.left_out).push(left_out);
    }

    /// Appends those that the last evaluation left out to the log; returns how many.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn append_left_out(&self, path: &Path) -> Result<u64> {
        let left_out = std::mem::take(&mut *lock(&self.left_out));
        write(path, &left_out)?;
        Ok(left_out.len() as u64)
    }
}

/// Appends a line each, in one piece.
fn write(path: &Path, lines: &[impl Serialize]) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        text += &serde_json::to_string(line)?;
        text.push('\n');
    }
    // a log that nothing belongs into is not made
    if text.is_empty() {
        return Ok(());
    }
    File::options().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_wait_for_their_step_and_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rejected.jsonl");
        let rejections = Rejections::default();
        let rejected = |step, sequence| Rejected {
            step,
            sequence,
            index: 0,
            name: format!("{sequence}.png"),
            reason: "cut short".into(),
            replaced_by: 1,
        };
        for (step, sequence) in [(2, 9), (1, 5), (1, 4), (3, 12)] {
            rejections.report(rejected(step, sequence));
        }
        assert_eq!(rejections.append(&path, 0).unwrap(), 0);
        assert!(!path.exists());
        assert_eq!(rejections.append(&path, 2).unwrap(), 3);
        let text = std::fs::read_to_string(&path).unwrap();
        let names: Vec<_> = ["4.png", "5.png", "9.png"].map(|name| text.find(name).unwrap()).into();
        assert!(names.is_sorted() && !text.contains("12.png"));
        assert_eq!(rejections.append(&path, 3).unwrap(), 1);
    }
}
