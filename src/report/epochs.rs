//! `log.txt`: a line an epoch, as the published training script (`main_dino.py`) writes it: means over the epoch's steps.
//!
//! `{"train_loss": 5.1, "train_lr": 0.0005, "train_wd": 0.04, "epoch": 3}`. Epochs that are not complete have no line.

use std::fs::File;
use std::io::{Result, Write};
use std::path::Path;

use serde_json::{Map, Value};

use crate::checkpoint::atomic;

/// The keys of a step's line whose means are taken, and what the script calls them.
const MEANS: [(&str, &str); 3] = [("loss", "train_loss"), ("lr", "train_lr"), ("weight_decay", "train_wd")];

/// Appends a line for each epoch that is complete.
#[derive(Debug)]
pub struct EpochLog {
    file: File,
    means: Means,
}

/// The sums of an epoch so far.
#[derive(Clone, Debug, Default)]
struct Means {
    steps_per_epoch: u64,
    sums: [f64; 3],
    steps: u64,
}

impl EpochLog {
    /// Writes the epochs that the record (`metrics.jsonl`) has complete, whole or not at all, and goes on from there: a run that is
    /// resumed, or that had no such log before, has in it what one that was not interrupted has.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub fn open(path: &Path, record: &Path, steps_per_epoch: u64) -> Result<Self> {
        let mut means = Means { steps_per_epoch: steps_per_epoch.max(1), ..Means::default() };
        let text = match std::fs::read_to_string(record) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
        let steps = lines.filter(|line| line.get("event").is_some_and(|event| event == "step"));
        let whole: String = steps.filter_map(|line| means.step(&line)).collect();
        atomic::write(path, |file| file.write_all(whole.as_bytes()))?;
        Ok(EpochLog { file: File::options().append(true).open(path)?, means })
    }

    /// Takes a step's line into its epoch.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn step(&mut self, line: &Map<String, Value>) -> Result<()> {
        match self.means.step(line) {
            Some(text) => self.file.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }
}

impl Means {
    /// The epoch's line, with its last step.
    fn step(&mut self, line: &Map<String, Value>) -> Option<String> {
        let number = |key: &str| line.get(key).and_then(Value::as_f64);
        for (sum, (key, _)) in self.sums.iter_mut().zip(MEANS) {
            // a number that is none makes the mean none
            *sum += number(key).unwrap_or(f64::NAN);
        }
        self.steps += 1;
        let step = line.get("step").and_then(Value::as_u64)?;
        if !(step + 1).is_multiple_of(self.steps_per_epoch) {
            return None;
        }
        let (steps, epoch) = (self.steps as f64, step / self.steps_per_epoch);
        let means = MEANS.iter().zip(self.sums);
        let fields = means.map(|((_, name), sum)| format!("\"{name}\": {}, ", Value::from(sum / steps)));
        let text = format!("{{{}\"epoch\": {epoch}}}\n", fields.collect::<String>());
        (self.sums, self.steps) = ([0.0; 3], 0);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Map<String, Value> {
        let text =
            format!(r#"{{"event":"step","step":{step},"loss":{}.5,"lr":0.25,"weight_decay":0.04}}"#, step);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn an_epochs_line_is_the_mean_of_its_steps_also_after_a_resume() {
        let folder = tempfile::tempdir().unwrap();
        let (path, record) = (folder.path().join("log.txt"), folder.path().join("metrics.jsonl"));
        let all = "{\"train_loss\": 1.5, \"train_lr\": 0.25, \"train_wd\": 0.04, \"epoch\": 0}\n\
            {\"train_loss\": 4.5, \"train_lr\": 0.25, \"train_wd\": 0.04, \"epoch\": 1}\n";
        let check = |resumed: u64| {
            let known: String =
                (0..resumed).map(|step| serde_json::to_string(&line(step)).unwrap() + "\n").collect();
            std::fs::write(&record, known).unwrap();
            std::fs::write(&path, "what a later epoch left").unwrap();
            let mut log = EpochLog::open(&path, &record, 3).unwrap();
            (resumed..8).for_each(|step| log.step(&line(step)).unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), all, "resumed at {resumed}");
        };
        for resumed in [0, 1, 3, 4, 8] {
            check(resumed);
        }
    }
}
