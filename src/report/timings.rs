//! `timings.json`: what each stage of a run cost, how full each channel was, and on what machine; for people and for the report.

use std::io::Result;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tables::{Placed, Summary};
use crate::checkpoint::atomic;

/// A run's account. It is of one life of the run: one that is resumed begins a new one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// How this life of the run ended; none while it lasts, or when it was killed.
    pub ended: Option<Ended>,
    /// The steps that the figures are of, `from` included and `to` not.
    pub steps: Covered,
    pub wall_seconds: f64,
    pub images_per_second: f64,
    /// Time in which the island waited for pictures.
    pub data_wait_seconds: f64,
    /// The same as a part of the whole, 0 to 1.
    pub data_wait_share: f64,
    /// Pictures that were replaced in training, and the most that one evaluation did without.
    pub rejected: u64,
    pub left_out: u64,
    /// Bytes that were resident at the process's peak, where the system says so.
    pub peak_memory_bytes: Option<u64>,
    /// Bytes of a GPU's memory that were in use at once, at most.
    #[serde(default)]
    pub peak_device_memory_bytes: Option<u64>,
    pub nodes: Vec<NodeTime>,
    pub edges: Vec<EdgeUse>,
    pub environment: Environment,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// As the exit status.
    pub status: u8,
    /// The failure, where it was one.
    pub failure: Option<String>,
}

/// Steps of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    pub from: u64,
    pub to: u64,
}

/// One half of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeTime {
    /// The node's name, with `/backward` for the half that gradients leave.
    pub node: String,
    pub place: Placed,
    /// Threads that shared it; 1 is the island's own, for what is not of the host.
    pub threads: usize,
    pub calls: u64,
    /// Time inside it, summed over its threads.
    pub total_ms: f64,
    /// Of one call.
    pub mean_ms: f64,
    /// That time of one thread as a part of the whole, 0 to 1.
    pub share_of_wall: f64,
    /// Time that its threads waited for input and for room, summed.
    pub waits_ms: f64,
}

/// One channel between threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EdgeUse {
    /// Nodes; `island` stands for whichever of its stages take the values.
    pub from: String,
    pub to: String,
    /// Values that it has room for.
    pub capacity: usize,
    /// Values that went through.
    pub values: u64,
    /// Values in it when one came in, that one counted.
    pub mean_occupancy: f64,
    pub max_occupancy: u64,
    /// Time that senders waited for room, and receivers for a value, summed over them.
    pub producer_waits_ms: f64,
    pub consumer_waits_ms: f64,
}

/// What the run was on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Of this program.
    pub version: String,
    /// `linux x86_64`.
    pub system: String,
    /// Where the networks lived: `cpu`, or `cuda:0` and the card's name. Runs of earlier versions knew the processor alone.
    #[serde(default = "cpu")]
    pub device: String,
    /// The instruction set that the processor's kernels used.
    pub instructions: String,
    /// The number type of products and activations.
    pub precision: String,
    /// Threads that worked at once, and the machine's cores.
    pub threads: usize,
    pub cores: usize,
    /// Pictures of a pass over the source that batches are made of.
    pub pictures_an_epoch: u64,
    pub steps_an_epoch: u64,
    pub total_steps: u64,
    /// When this life of the run began, in seconds since 1970 (UTC).
    pub started: u64,
}

fn cpu() -> String {
    "cpu".into()
}

impl Timings {
    /// The account of the steps from `first` on.
    pub fn of(summary: &Summary, first: u64, ended: Option<Ended>, environment: Environment) -> Self {
        let wall = summary.wall.as_secs_f64().max(1e-9);
        let nodes = summary.stages.iter().map(|line| NodeTime {
            node: line.name.clone(),
            place: line.place,
            threads: line.workers,
            calls: line.firings,
            total_ms: ms(line.busy),
            mean_ms: ms(line.busy) / line.firings.max(1) as f64,
            share_of_wall: line.busy.as_secs_f64() / line.workers.max(1) as f64 / wall,
            waits_ms: ms(line.waited),
        });
        let edges = summary.channels.iter().map(|line| EdgeUse {
            from: line.from.clone(),
            to: line.to.clone(),
            capacity: line.capacity,
            values: line.values,
            mean_occupancy: line.occupancy * line.capacity as f64,
            max_occupancy: line.fullest,
            producer_waits_ms: ms(line.send_wait),
            consumer_waits_ms: ms(line.receive_wait),
        });
        Timings {
            ended,
            steps: Covered { from: first, to: first + summary.steps },
            wall_seconds: summary.wall.as_secs_f64(),
            images_per_second: summary.images as f64 / wall,
            data_wait_seconds: summary.data_wait.as_secs_f64(),
            data_wait_share: summary.data_wait.as_secs_f64() / wall,
            rejected: summary.rejected,
            left_out: summary.left_out,
            peak_memory_bytes: crate::bench::memory::peak(),
            peak_device_memory_bytes: None,
            nodes: nodes.collect(),
            edges: edges.collect(),
            environment,
        }
    }

    /// Writes it whole.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        atomic::write(path, |file| writeln!(file, "{text}"))
    }

    /// What a run left.
    ///
    /// # Errors
    /// When the file can't be read, or holds something else.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
    }
}

fn ms(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tables::{ChannelUse, StageTime};

    #[test]
    fn shares_are_of_one_thread_and_occupancy_is_in_values() {
        let second = Duration::from_secs(1);
        let summary = Summary {
            wall: 4 * second,
            steps: 2,
            images: 8,
            data_wait: second,
            stages: vec![StageTime {
                name: "decode".into(),
                place: Placed::Host,
                workers: 2,
                firings: 8,
                busy: 4 * second,
                waited: second,
            }],
            channels: vec![ChannelUse {
                from: "decode".into(),
                to: "island".into(),
                capacity: 8,
                values: 8,
                occupancy: 0.25,
                fullest: 5,
                send_wait: second,
                receive_wait: 2 * second,
            }],
            ..Summary::default()
        };
        let ended = Ended { status: 130, failure: None };
        let timings = Timings::of(&summary, 10, Some(ended), Environment::default());
        assert_eq!(timings.steps, Covered { from: 10, to: 12 });
        assert_eq!((timings.images_per_second, timings.data_wait_share), (2.0, 0.25));
        let node = &timings.nodes[0];
        assert_eq!((node.mean_ms, node.total_ms, node.share_of_wall), (500.0, 4000.0, 0.5));
        let edge = &timings.edges[0];
        assert_eq!((edge.mean_occupancy, edge.max_occupancy, edge.consumer_waits_ms), (2.0, 5, 2000.0));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timings.json");
        timings.write(&path).unwrap();
        assert_eq!(Timings::read(&path).unwrap(), timings);
        std::fs::write(&path, "{\"steps\":").unwrap();
        assert!(Timings::read(&path).is_err());
    }
}
