//! A run's record by series: one for each number of a step's line, one for each network and number of neighbours.

use indexmap::IndexMap;
use serde_json::{Map, Value};

/// Values by step.
pub type Series = Vec<(u64, f64)>;

/// What a record holds.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// By the keys of a step's line, in their order; a key that is always null has none.
    pub steps: IndexMap<String, Series>,
    /// Accuracy in percent of the first choice, by network and number of neighbours.
    pub knn: IndexMap<(String, u64), Series>,
    /// Sheets of attention, in the order of their steps.
    pub sheets: Vec<Sheet>,
    /// Lines that are no whole JSON objects: of a run that was killed the last is one.
    pub torn: usize,
}

/// A sheet of attention: where its picture lies, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    pub step: u64,
    pub network: String,
    /// The file's name in `pictures/`.
    pub picture: String,
    /// Rows of the sheet, and the side of a cell in pixels.
    pub rows: usize,
    pub side: usize,
}

impl Record {
    /// Reads a `metrics.jsonl`.
    pub fn of(text: &str) -> Record {
        let mut record = Record::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str::<Map<String, Value>>(line) {
                Ok(line) => record.line(&line),
                Err(_) => record.torn += 1,
            }
        }
        record
    }

    fn line(&mut self, line: &Map<String, Value>) {
        let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
        let count = |key: &str| line.get(key).and_then(Value::as_u64);
        let Some(step) = count("step") else { return };
        match text("event") {
            "step" => {
                const PLACES: [&str; 3] = ["event", "step", "epoch"];
                for (key, value) in line.iter().filter(|(key, _)| !PLACES.contains(&key.as_str())) {
                    if let Some(value) = value.as_f64() {
                        self.steps.entry(key.clone()).or_default().push((step, value));
                    }
                }
            }
            "knn" => {
                if let (Some(k), Some(top1)) = (count("k"), line.get("top1").and_then(Value::as_f64)) {
                    self.knn.entry((text("network").into(), k)).or_default().push((step, top1));
                }
            }
            "attention" => {
                // a name from a record must not lead out of the folder of pictures
                let picture = text("picture");
                let plain = !picture.is_empty() && !picture.contains(['/', '\\']);
                if let (true, Some(rows), Some(side)) = (plain, count("pictures"), count("side")) {
                    let (rows, side) = (rows as usize, side as usize);
                    let network = text("network").into();
                    self.sheets.push(Sheet { step, network, picture: picture.into(), rows, side });
                }
            }
            _ => {}
        }
    }

    /// A series of steps by its key; empty where there is none.
    pub fn series(&self, key: &str) -> &[(u64, f64)] {
        self.steps.get(key).map_or(&[], Vec::as_slice)
    }

    /// Updates that are recorded.
    pub fn length(&self) -> u64 {
        let last = self.steps.values().filter_map(|series| series.last()).map(|(step, _)| step + 1);
        last.max().unwrap_or(0)
    }

    /// Numbers of neighbours, in rising order.
    pub fn neighbours(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.knn.keys().map(|(_, k)| *k).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Accuracies of a network by so many neighbours.
    pub fn accuracy(&self, network: &str, k: u64) -> &[(u64, f64)] {
        self.knn.get(&(network.to_owned(), k)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_by_series_and_a_torn_line_is_counted() {
        let text = r#"{"event":"knn","step":0,"network":"pixels","k":20,"top1":30.0,"top5":70.0}
{"event":"knn","step":0,"network":"teacher","k":20,"top1":40.0}
{"event":"knn","step":0,"network":"teacher","k":10,"top1":41.0}
{"event":"attention","step":0,"network":"teacher","pictures":6,"heads":2,"side":96,"picture":"attention-step-00000000.png"}
{"event":"attention","step":0,"network":"teacher","pictures":6,"heads":2,"side":96,"picture":"../../secret.png"}
{"event":"step","step":0,"epoch":0,"loss":2.0,"kl":null,"koleo":0.5}
{"event":"step","step":1,"epoch":0,"loss":1.5,"kl":null,"koleo":0.25}
{"event":"other","step":1}
{"event":"step","st"#;
        let record = Record::of(text);
        assert_eq!(record.steps.keys().collect::<Vec<_>>(), ["loss", "koleo"]);
        assert_eq!((record.series("loss"), record.series("kl")), (&[(0, 2.0), (1, 1.5)][..], &[][..]));
        assert_eq!((record.neighbours(), record.length(), record.torn), (vec![10, 20], 2, 1));
        assert_eq!(record.accuracy("teacher", 20), [(0, 40.0)]);
        assert_eq!((record.sheets.len(), record.sheets[0].rows, record.sheets[0].side), (1, 6, 96));
        assert_eq!(Record::of("").length(), 0);
    }
}
