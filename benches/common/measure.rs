//! What the benchmarks share: short measurements, numbers to work on, and the machine's own limit.

use criterion::Criterion;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, SamplingMode, Throughput};
use std::time::Duration;

/// Measurements short enough that all of a file's end in minutes; the command line can ask for longer ones.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .nresamples(5_000)
        .without_plots()
        .configure_from_args()
}

/// A group of benchmarks. Each of its samples has as many runs as any other: a product of 0.1 s would otherwise take 55 runs.
pub fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    group
}

/// Counts what a run does, so that criterion's elements a second are operations, values or pictures a second.
pub fn elements(count: usize) -> Throughput {
    Throughput::Elements(count as u64)
}
