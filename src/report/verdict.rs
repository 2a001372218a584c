//! What a run came to: the accuracy of nearest neighbours before and after, read from the run's own record.

use std::io;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

/// Accuracies in percent for one number of neighbours; none where nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Neighbours that vote.
    pub k: u64,
    /// By the pixels alone.
    pub pixels: Option<f64>,
    /// By the network before the first step.
    pub untrained: Option<f64>,
    pub student: Option<f64>,
    pub teacher: Option<f64>,
}

impl Verdict {
    /// Reads a run's `metrics.jsonl`: for k = 20, or the smallest k where that was not asked for. None without any evaluation.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(metrics: &Path) -> io::Result<Option<Verdict>> {
        let text = std::fs::read_to_string(metrics)?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(Verdict::of(&lines.filter(|line| line["event"] == "knn").collect::<Vec<_>>()))
    }

    fn of(lines: &[Value]) -> Option<Verdict> {
        let ks: Vec<u64> = lines.iter().filter_map(|line| line["k"].as_u64()).collect();
        let k = if ks.contains(&20) { 20 } else { *ks.iter().min()? };
        let of_network = |network: &str| {
            let network = network.to_owned();
            lines.iter().filter(move |line| line["k"] == k && line["network"] == network.as_str())
        };
        let first = |network: &str| of_network(network).find(|line| line["step"] == 0)?["top1"].as_f64();
        let last = |network: &str| of_network(network).rfind(|line| line["step"] != 0)?["top1"].as_f64();
        Some(Verdict {
            k,
            pixels: first("pixels"),
            untrained: first("teacher").or_else(|| first("student")),
            student: last("student"),
            teacher: last("teacher"),
        })
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["features", &format!("{}-NN accuracy, top 1", self.k)]);
        let rows = [
            ("raw pixels", self.pixels),
            ("untrained network", self.untrained),
            ("student", self.student),
            ("teacher", self.teacher),
        ];
        for (name, accuracy) in rows {
            if let Some(accuracy) = accuracy {
                table.add_row([name.to_owned(), format!("{accuracy:.1} %")]);
            }
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_and_the_last_evaluation_count() {
        let line = |step: u64, network: &str, k: u64, top1: f64| json!({"event": "knn", "step": step, "network": network, "k": k, "top1": top1});
        let lines = [
            line(0, "pixels", 20, 30.0),
            line(0, "student", 20, 40.0),
            line(0, "teacher", 20, 41.0),
            line(5, "teacher", 20, 50.0),
            line(9, "teacher", 10, 99.0),
            line(9, "teacher", 20, 60.0),
        ];
        let expected =
            Verdict { k: 20, pixels: Some(30.0), untrained: Some(41.0), student: None, teacher: Some(60.0) };
        assert_eq!(Verdict::of(&lines), Some(expected));
        assert_eq!(Verdict::of(&[]), None);
        assert!(
            expected.to_string().contains("untrained network") && expected.to_string().contains("60.0 %")
        );
    }
}
