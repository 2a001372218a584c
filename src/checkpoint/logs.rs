//! Append-only logs, cut back when a run resumes.

use std::io::{ErrorKind, Result};
use std::path::Path;

use serde_json::Value;

use super::atomic;

/// Keeps the lines of a log that were written before a checkpoint: whole ones alone, a step's when the step is in the checkpoint,
/// an evaluation's at the checkpoint's own step when it was done by then. A missing log stays missing.
pub fn cut_back(path: &Path, step: u64, evaluated: bool) -> Result<()> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let keeps = |line: &&[u8]| {
        let whole: Value = match line.strip_suffix(b"\n").map(serde_json::from_slice) {
            Some(Ok(whole)) => whole,
            _ => return false,
        };
        let (at, event) = (whole["step"].as_u64(), whole["event"].as_str());
        let between_steps = event.is_some_and(|event| event != "step");
        at.is_some_and(|at| at < step || (at == step && between_steps && evaluated))
    };
    let kept: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').filter(keeps).collect();
    if kept.iter().map(|line| line.len()).sum::<usize>() == text.len() {
        return Ok(());
    }
    atomic::write(path, |file| kept.iter().try_for_each(|line| file.write_all(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_before_the_checkpoint_stay() {
        let step = |step: u64| format!("{{\"event\":\"step\",\"step\":{step}}}\n");
        let knn = |step: u64| format!("{{\"event\":\"knn\",\"step\":{step}}}\n");
        let log = [knn(0), step(0), step(1), knn(2), step(2), "{\"event\":\"st".into()].concat();
        let check = |at, evaluated, expected: String| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("metrics.jsonl");
            std::fs::write(&path, &log).unwrap();
            cut_back(&path, at, evaluated).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected, "at {at}, evaluated {evaluated}");
        };
        check(2, true, [knn(0), step(0), step(1), knn(2)].concat());
        check(2, false, [knn(0), step(0), step(1)].concat());
        check(1, true, [knn(0), step(0)].concat());
        check(0, false, String::new());
        check(9, true, [knn(0), step(0), step(1), knn(2), step(2)].concat());
    }

    #[test]
    fn a_rejection_belongs_to_its_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rejected.jsonl");
        std::fs::write(&path, "{\"step\":1,\"name\":\"a\"}\n{\"step\":2,\"name\":\"b\"}\n").unwrap();
        cut_back(&path, 2, true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"step\":1,\"name\":\"a\"}\n");
    }
}
