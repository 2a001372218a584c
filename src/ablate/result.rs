//! What a run came to: what is kept beside its folder, and what its record tells.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checkpoint::atomic;
use crate::doctor::{Diagnosis, history};
use crate::error::Error;
use crate::stages::Registry;

/// What a run's folder can't tell: how its last life ended. It lies beside the folder, as `seed-0.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// As the run's exit status.
    pub status: u8,
    pub error: Option<String>,
    pub seconds: f64,
    /// The most memory that the process had meanwhile, where that is known.
    pub peak_bytes: Option<u64>,
}

impl Kept {
    fn path(folder: &Path) -> PathBuf {
        folder.with_extension("json")
    }

    /// What was kept for a run's folder; none where it never ended.
    pub fn read(folder: &Path) -> Option<Kept> {
        serde_json::from_str(&std::fs::read_to_string(Kept::path(folder)).ok()?).ok()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = Kept::path(folder);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::Failed(e.to_string()))?;
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent)
            .and_then(|()| atomic::write(&path, |file| writeln!(file, "{text}")))
            .map_err(|cause| Error::File { doing: "write", path, cause })
    }

    /// Whether going on would change nothing: it came to its end, collapsed, or to a number that is none.
    pub fn finished(&self) -> bool {
        matches!(self.status, 0 | 3)
    }
}

/// One run as the report shows it.
#[derive(Clone, Debug)]
pub struct RunResult {
    pub seed: u64,
    pub kept: Option<Kept>,
    /// None where there is no record yet.
    pub diagnosis: Option<Diagnosis>,
    pub record: Record,
}

/// The series of a run's record, each by step.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub loss: Vec<(u64, f64)>,
    /// As parts of ln K.
    pub teacher_entropy: Vec<(u64, f64)>,
    pub batch_entropy: Vec<(u64, f64)>,
    pub kl: Vec<(u64, f64)>,
    /// The teacher's accuracy by its nearest neighbours in percent, or the student's where the teacher was not asked.
    pub knn: Vec<(u64, f64)>,
    /// Median of what a picture took, in seconds.
    pub seconds_an_image: Option<f64>,
}

impl RunResult {
    /// Reads a run's folder, which may not be there yet.
    ///
    /// # Errors
    /// When its files can't be read.
    pub fn read(seed: u64, folder: &Path, registry: &Registry) -> Result<Self, Error> {
        let metrics = folder.join("metrics.jsonl");
        let mut result =
            RunResult { seed, kept: Kept::read(folder), diagnosis: None, record: Record::default() };
        if metrics.is_file() {
            let diagnosis = history::diagnose(folder, registry)?;
            let most = diagnosis.prototypes.map(|k| (k as f64).ln());
            let text = std::fs::read_to_string(&metrics).map_err(|cause| Error::File {
                doing: "read",
                path: metrics,
                cause,
            })?;
            result.record = Record::of(&text, most);
            result.diagnosis = Some(diagnosis);
        }
        Ok(result)
    }
}

impl Record {
    fn of(text: &str, most: Option<f64>) -> Record {
        let mut record = Record::default();
        let (mut student, mut paces) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let Ok(line) = serde_json::from_str::<Map<String, Value>>(line) else { continue };
            let number = |key: &str| line.get(key).and_then(Value::as_f64);
            let is = |key: &str, word: &str| line.get(key).and_then(Value::as_str) == Some(word);
            let Some(step) = line.get("step").and_then(Value::as_u64) else { continue };
            if is("event", "step") {
                let part = |entropy: Option<f64>| Some(entropy? / most?);
                record.loss.extend(number("loss").map(|loss| (step, loss)));
                record.kl.extend(number("kl").map(|kl| (step, kl)));
                record.teacher_entropy.extend(part(number("teacher_entropy")).map(|part| (step, part)));
                record.batch_entropy.extend(part(number("batch_entropy")).map(|part| (step, part)));
                paces.extend(number("images_per_second").filter(|rate| *rate > 0.0).map(|rate| 1.0 / rate));
            } else if is("event", "knn") && !is("network", "pixels") {
                let series = if is("network", "teacher") { &mut record.knn } else { &mut student };
                // of several numbers of neighbours, the first
                if series.last().is_none_or(|(last, _)| *last != step) {
                    series.extend(number("top1").map(|top1| (step, top1)));
                }
            }
        }
        if record.knn.is_empty() {
            record.knn = student;
        }
        paces.sort_by(f64::total_cmp);
        record.seconds_an_image = paces.get(paces.len() / 2).copied();
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_by_series() {
        let text = r#"{"event":"knn","step":0,"network":"pixels","k":20,"top1":30.0}
{"event":"knn","step":0,"network":"teacher","k":10,"top1":40.0}
{"event":"knn","step":0,"network":"teacher","k":20,"top1":41.0}
{"event":"knn","step":0,"network":"student","k":10,"top1":50.0}
{"event":"step","step":0,"loss":2.0,"teacher_entropy":1.0,"batch_entropy":2.0,"kl":1.0,"images_per_second":10.0}
{"event":"step","step":1,"loss":1.5,"teacher_entropy":null,"batch_entropy":2.0,"kl":null,"images_per_second":20.0}
{"event":"step","st"#;
        let record = Record::of(text, Some(2.0));
        assert_eq!(record.loss, [(0, 2.0), (1, 1.5)]);
        assert_eq!(
            (&record.teacher_entropy[..], &record.batch_entropy[..]),
            (&[(0, 0.5)][..], &[(0, 1.0), (1, 1.0)][..])
        );
        assert_eq!((&record.kl[..], &record.knn[..]), (&[(0, 1.0)][..], &[(0, 40.0)][..]));
        assert_eq!(record.seconds_an_image, Some(0.1));
    }

    #[test]
    fn an_end_is_kept_beside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("variant 1.5").join("seed-0");
        assert_eq!(Kept::read(&run), None);
        for (status, finished) in [(0, true), (3, true), (1, false), (130, false)] {
            let kept = Kept { status, error: None, seconds: 1.5, peak_bytes: Some(9) };
            kept.write(&run).unwrap();
            assert_eq!((Kept::read(&run), kept.finished()), (Some(kept.clone()), finished));
        }
        assert!(folder.path().join("variant 1.5/seed-0.json").is_file());
    }
}
