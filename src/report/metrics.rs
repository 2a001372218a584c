//! `metrics.jsonl`: an object a line, flushed whole.

use std::fs::File;
use std::io::{Result, Write};
use std::path::Path;

use serde_json::{Map, Value};

/// The numbers of every step's line, in this order, after `event`, `step` and `epoch`. Those that no stage reported are null.
const STEP_KEYS: [&str; 14] = [
    "loss",
    "lr",
    "weight_decay",
    "teacher_momentum",
    "teacher_temperature",
    "teacher_entropy",
    "batch_entropy",
    "kl",
    "center_norm",
    "used_prototypes",
    "agreement",
    "effective_rank",
    "grad_norm",
    "images_per_second",
];

/// The name under which a loss reports itself when it is the cross-entropy to the center's targets. It is no key of the record: what is
/// left of it without the targets' own entropy is `kl`, the divergence of the student from the teacher. Other losses have none.
pub const CROSS_ENTROPY: &str = "cross_entropy";

/// Appends to a run's record.
pub struct Recorder {
    file: File,
}

impl Recorder {
    /// Opens the record, to append to it.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Recorder { file: File::options().append(true).create(true).open(path)? })
    }

    /// A step's line: the numbers that every run has, in their order, then what else stages reported. A number that is none
    /// becomes null, for JSON knows no NaN. Gives the line back.
    pub fn step(
        &mut self,
        step: u64,
        epoch: u64,
        metrics: &[(&'static str, f64)],
    ) -> Result<Map<String, Value>> {
        let mut line = Map::new();
        line.insert("event".into(), "step".into());
        line.insert("step".into(), step.into());
        line.insert("epoch".into(), epoch.into());
        for key in STEP_KEYS {
            line.insert(key.into(), Value::Null);
        }
        for (name, value) in metrics.iter().filter(|(name, _)| *name != CROSS_ENTROPY) {
            line.insert((*name).into(), Value::from(*value));
        }
        let number = |name| metrics.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        if let (None, Some(crossed), Some(entropy)) =
            (number("kl"), number(CROSS_ENTROPY), number("teacher_entropy"))
        {
            line.insert("kl".into(), Value::from(crossed - entropy));
        }
        self.write(&line)?;
        Ok(line)
    }

    /// A line of a stage at the barrier, after `step` updates.
    pub fn event(&mut self, name: &str, step: u64, fields: &Map<String, Value>) -> Result<()> {
        let mut line = Map::new();
        line.insert("event".into(), name.into());
        line.insert("step".into(), step.into());
        line.extend(fields.clone());
        self.write(&line)
    }

    /// Down to the disk, so that a checkpoint never knows more than the record.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data()
    }

    fn write(&mut self, line: &Map<String, Value>) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        // one write a line: a killed run leaves whole lines
        self.file.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_its_keys_in_order_and_null_for_what_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut recorder = Recorder::open(&path).unwrap();
        recorder.step(3, 1, &[("koleo", 0.5), ("lr", 0.1), ("kl", f64::NAN), ("loss", 5.25)]).unwrap();
        let crossed = [("loss", 5.25), (CROSS_ENTROPY, 5.25), ("teacher_entropy", 4.0)];
        recorder.step(4, 1, &crossed).unwrap();
        recorder.step(5, 1, &[("loss", 0.5), ("teacher_entropy", 4.0)]).unwrap();
        let mut fields = Map::new();
        fields.insert("network".into(), "teacher".into());
        fields.insert("k".into(), 20.into());
        recorder.event("knn", 4, &fields).unwrap();
        let expected = concat!(
            r#"{"event":"step","step":3,"epoch":1,"loss":5.25,"lr":0.1,"weight_decay":null,"teacher_momentum":null,"#,
            r#""teacher_temperature":null,"teacher_entropy":null,"batch_entropy":null,"kl":null,"center_norm":null,"#,
            r#""used_prototypes":null,"agreement":null,"effective_rank":null,"grad_norm":null,"images_per_second":null,"koleo":0.5}"#,
            "\n",
            r#"{"event":"step","step":4,"epoch":1,"loss":5.25,"lr":null,"weight_decay":null,"teacher_momentum":null,"#,
            r#""teacher_temperature":null,"teacher_entropy":4.0,"batch_entropy":null,"kl":1.25,"center_norm":null,"#,
            r#""used_prototypes":null,"agreement":null,"effective_rank":null,"grad_norm":null,"images_per_second":null}"#,
            "\n",
            r#"{"event":"step","step":5,"epoch":1,"loss":0.5,"lr":null,"weight_decay":null,"teacher_momentum":null,"#,
            r#""teacher_temperature":null,"teacher_entropy":4.0,"batch_entropy":null,"kl":null,"center_norm":null,"#,
            r#""used_prototypes":null,"agreement":null,"effective_rank":null,"grad_norm":null,"images_per_second":null}"#,
            "\n",
            r#"{"event":"knn","step":4,"network":"teacher","k":20}"#,
            "\n"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
}
