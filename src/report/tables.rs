//! The tables at a run's end: where the time went.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

/// A stage's line.
#[derive(Clone, Debug, PartialEq)]
pub struct StageTime {
    pub name: String,
    pub place: Placed,
    /// Threads that share it.
    pub workers: usize,
    pub firings: u64,
    /// Time inside the stage, summed over its workers.
    pub busy: Duration,
    /// Time it waited for input and for room, summed over its workers.
    pub waited: Duration,
}

/// Who fires a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placed {
    /// Threads beside the island.
    Host,
    /// The island's thread, in a step.
    Island,
    /// The island's thread, between two steps.
    Barrier,
}

/// A channel's line.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelUse {
    pub from: String,
    pub to: String,
    pub capacity: usize,
    pub values: u64,
    /// Mean share of the capacity in use, 0 to 1.
    pub occupancy: f64,
    /// The most values that lay in it at once.
    pub fullest: u64,
    pub send_wait: Duration,
    pub receive_wait: Duration,
}

/// What a run's time went into.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub wall: Duration,
    /// Updates in this run, without those of the runs it resumed.
    pub steps: u64,
    pub images: u64,
    /// Time in which the island waited for pictures.
    pub data_wait: Duration,
    pub rejected: u64,
    /// The most pictures that one evaluation did without.
    pub left_out: u64,
    pub stages: Vec<StageTime>,
    pub channels: Vec<ChannelUse>,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.wall.as_secs_f64();
        let share = |time: Duration| format!("{:.1} %", 100.0 * time.as_secs_f64() / seconds.max(1e-9));
        let mut stages = table(&["stage", "threads", "firings", "compute s", "ms each", "waits s", "share"]);
        for line in &self.stages {
            let each = 1e3 * line.busy.as_secs_f64() / line.firings.max(1) as f64;
            stages.add_row([
                line.name.clone(),
                line.workers.to_string(),
                line.firings.to_string(),
                time(line.busy),
                format!("{each:.3}"),
                time(line.waited),
                share(line.busy / line.workers.max(1) as u32),
            ]);
        }
        let mut channels =
            table(&["edge", "capacity", "values", "occupancy", "send waits s", "receive waits s"]);
        for line in &self.channels {
            channels.add_row([
                format!("{} -> {}", line.from, line.to),
                line.capacity.to_string(),
                line.values.to_string(),
                format!("{:.0} %", 100.0 * line.occupancy),
                time(line.send_wait),
                time(line.receive_wait),
            ]);
        }
        right(&mut stages);
        right(&mut channels);
        writeln!(f, "{stages}")?;
        if !self.channels.is_empty() {
            writeln!(f, "{channels}")?;
        }
        let rate = self.images as f64 / seconds.max(1e-9);
        let wait = share(self.data_wait);
        writeln!(f, "{} steps in {seconds:.1} s, {rate:.1} images/s, {wait} waiting for data", self.steps)?;
        if self.rejected > 0 {
            writeln!(
                f,
                "{} pictures could not be used and were replaced; see rejected.jsonl",
                self.rejected
            )?;
        }
        if self.left_out > 0 {
            writeln!(
                f,
                "{} pictures could not be read and were left out of evaluations; see rejected.jsonl",
                self.left_out
            )?;
        }
        Ok(())
    }
}

/// An empty table.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// Numbers stand below each other.
pub fn right(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn time(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}
