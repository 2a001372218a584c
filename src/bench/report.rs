//! What a benchmark found, as JSON for programs; [`table`](super::table) prints it.

use serde_json::{Value, json};

use super::tally::{self, median};
use super::{Measured, Peaks, Request};
use crate::graph::spec::{DeviceChoice, Precision};
use crate::kernels::KernelTime;
use crate::plan::{NodeId, Place, Plan};

/// What was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// Whole steps, with their pictures.
    Steps,
    /// Whole steps on pictures made before.
    WithoutData,
    /// Some stages of the host.
    HostStages,
    /// Some stages of the island.
    IslandStages,
}

impl Timed {
    fn word(self) -> &'static str {
        match self {
            Timed::Steps => "steps",
            Timed::WithoutData => "steps without data",
            Timed::HostStages | Timed::IslandStages => "stages alone",
        }
    }
}

/// One stage's part of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    pub name: String,
    pub role: String,
    pub place: Place,
    pub cost: tally::Cost,
    /// Floating-point operations a step, in both halves, by the plan; those of a stage that shares another's pass are counted there.
    pub flops: f64,
}

/// What a benchmark found. Times are in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub graph: String,
    pub timed: Timed,
    pub precision: Precision,
    pub threads: usize,
    /// Images in a step.
    pub images: usize,
    /// Every timed step.
    pub steps: Vec<f64>,
    pub warmup: u64,
    /// Of all that was timed.
    pub flops: f64,
    pub stages: Vec<StageReport>,
    /// Mean time a step in which the island waited for pictures.
    pub waiting: f64,
    /// Median time a step in which the island's threads were at matrix products, packing and fused epilogues included; none for
    /// stages of the host.
    pub products: Option<f64>,
    /// Medians over the steps, of the whole process.
    pub allocations: f64,
    pub allocated_bytes: f64,
    pub peaks: Peaks,
    pub peak_memory: Option<u64>,
    /// On a GPU, of one step more, where they were asked for.
    pub kernels: Vec<KernelTime>,
}

impl Report {
    pub(super) fn of(plan: &Plan, request: &Request, chosen: &[NodeId], measured: &Measured) -> Self {
        let timed = match chosen.first().map(|node| plan.nodes[node.0].place) {
            Some(Place::Host { .. }) => Timed::HostStages,
            Some(Place::Island) => Timed::IslandStages,
            None if request.no_data => Timed::WithoutData,
            None => Timed::Steps,
        };
        let timings = &measured.timings;
        // a GPU multiplies while the host goes on: its products are no part of the host's time
        let on_gpu = matches!(plan.graph.device, DeviceChoice::Cuda(_));
        Report {
            graph: plan.graph.name.clone(),
            timed,
            precision: plan.precision(),
            threads: measured.threads,
            images: plan.batch.global,
            steps: timings.iter().map(|t| (t.end - t.start).as_secs_f64()).collect(),
            warmup: request.warmup,
            flops: match chosen {
                [] => plan.cost.flops,
                nodes => nodes.iter().map(|node| plan.nodes[node.0].cost.flops).sum(),
            },
            stages: stages(plan, measured),
            waiting: timings.iter().map(|t| t.waited).sum::<f64>() / timings.len().max(1) as f64,
            products: (timed != Timed::HostStages && !on_gpu)
                .then(|| median(timings.iter().map(|t| t.products))),
            allocations: median(timings.iter().map(|t| t.allocated.count as f64)),
            allocated_bytes: median(timings.iter().map(|t| t.allocated.bytes as f64)),
            peaks: measured.peaks,
            peak_memory: measured.peak_memory,
            kernels: measured.kernels.clone(),
        }
    }

    /// The median step.
    pub fn seconds(&self) -> f64 {
        median(self.steps.iter().copied())
    }

    pub fn images_per_second(&self) -> f64 {
        self.images as f64 / self.seconds().max(1e-12)
    }

    /// The share of a step that matrix products take.
    pub fn products_share(&self) -> Option<f64> {
        Some(self.products? / self.seconds().max(1e-12))
    }

    /// The machine's matrix peak for the precision in use: f32's where the processor has no bf16 products, which
    /// is what stands in for them.
    pub fn peak(&self) -> f64 {
        match self.precision {
            Precision::Bf16 => self.peaks.bf16.unwrap_or(self.peaks.f32),
            Precision::F16 => self.peaks.bf16.unwrap_or(self.peaks.f32),
            Precision::F32 | Precision::Auto => self.peaks.f32,
        }
    }

    /// What the island did beside firing stages and waiting: commits, and joining and cutting what crosses between rates.
    pub fn rest(&self) -> f64 {
        let island = self.stages.iter().filter(|stage| stage.place == Place::Island);
        (self.seconds() - self.waiting - island.map(|stage| stage.cost.seconds()).sum::<f64>()).max(0.0)
    }

    /// One object; what does not apply is null.
    pub fn to_json(&self) -> Value {
        json!({
            "graph": self.graph,
            "timed": self.timed.word(),
            "precision": format!("{:?}", self.precision),
            "threads": self.threads,
            "global_batch": self.images,
            "images_per_second": self.images_per_second(),
            "seconds_per_step": self.seconds(),
            "waiting_seconds_per_step": self.waiting,
            "products_seconds_per_step": self.products,
            "products_share": self.products_share(),
            "peak_memory_bytes": self.peak_memory,
            "flops_per_step": self.flops,
            "gflops": rate(self.flops, self.seconds()),
            "matrix_peak_gflops": self.peak(),
            "matrix_peaks_gflops": {"F32": self.peaks.f32, "Bf16": self.peaks.bf16},
            "allocations_per_step": self.allocations,
            "allocated_bytes_per_step": self.allocated_bytes,
            "kernels": self.kernels.iter().map(kernel).collect::<Vec<_>>(),
            "stages": self.stages.iter().map(|stage| self.stage(stage)).collect::<Vec<_>>(),
            "warmup": self.warmup,
            "steps": self.steps,
        })
    }

    fn stage(&self, stage: &StageReport) -> Value {
        let cost = &stage.cost;
        let gflops = rate(stage.flops, cost.seconds());
        json!({
            "name": stage.name,
            "role": stage.role,
            "place": match stage.place {
                Place::Host { .. } => "host",
                Place::Island => "island",
            },
            "seconds": cost.seconds(),
            "forward_seconds": cost.forward,
            "backward_seconds": cost.backward,
            "share": cost.seconds() / self.seconds().max(1e-12),
            "flops": stage.flops,
            "gflops": gflops,
            "peak_share": gflops.map(|gflops| gflops / self.peak()),
            "allocations": cost.allocations,
            "allocated_bytes": cost.allocated_bytes,
        })
    }
}

fn kernel(time: &KernelTime) -> Value {
    json!({ "name": time.kernel, "starts": time.starts, "seconds": time.seconds })
}

/// What every stage that fired cost.
fn stages(plan: &Plan, measured: &Measured) -> Vec<StageReport> {
    let mut flops: Vec<f64> = plan.nodes.iter().map(|node| node.cost.flops).collect();
    for (leader, follower) in &measured.fused {
        flops[leader.0] += std::mem::take(&mut flops[follower.0]);
    }
    let report = |(NodeId(index), cost): (NodeId, tally::Cost)| {
        let node = &plan.nodes[index];
        let (name, role) = (node.name.clone(), node.role.word().to_owned());
        StageReport { name, role, place: node.place, cost, flops: flops[index] }
    };
    tally::stages(plan, measured).into_iter().map(report).collect()
}

/// GFLOP/s, where there are operations.
pub(super) fn rate(flops: f64, seconds: f64) -> Option<f64> {
    (flops > 0.0 && seconds > 0.0).then(|| flops / seconds / 1e9)
}
