//! A benchmark in print.

use std::fmt;

use super::report::{Report, StageReport, Timed, rate};
use crate::plan::Place;
use crate::plan::explain::words;
use crate::report::tables::{right, table};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = format!("{:?}", self.precision).to_lowercase();
        let threads = counted(self.threads, "thread");
        writeln!(f, "{}: {precision}, {threads}, {}", self.graph, counted(self.images, "image") + " a step")?;
        self.speed(f)?;
        if let Some(gflops) = rate(self.flops, self.seconds()) {
            let (all, peak) = (self.flops / 1e9, self.peak());
            let share = 100.0 * gflops / peak;
            writeln!(
                f,
                "{all:.1} GFLOP a step, {gflops:.1} GFLOP/s: {share:.1} % of this machine's {peak:.0} in {precision}"
            )?;
        }
        if let Some(share) = self.products_share() {
            writeln!(f, "matrix products, with what is fused to them: {:.1} % of a step", 100.0 * share)?;
        }
        let mut rows =
            table(&["stage", "where", "ms a step", "share", "GFLOP/s", "of peak", "allocations", "MB"]);
        rows.add_rows(self.stages.iter().map(|stage| self.row(stage)));
        let beside = |name: &str, seconds: f64| {
            let cells = [ms(seconds), self.share(seconds)];
            let [time, share] = cells;
            [name.into(), "island".into(), time, share, dash(), dash(), dash(), dash()]
        };
        if self.timed == Timed::Steps {
            rows.add_row(beside("waiting for data", self.waiting));
        }
        if self.timed != Timed::HostStages {
            rows.add_row(beside("the rest", self.rest()));
        }
        right(&mut rows);
        writeln!(f, "{rows}")?;
        self.kernels(f)?;
        let memory = self.peak_memory.map(|bytes| format!("peak memory {:.2} GiB, ", bytes as f64 / GIB));
        writeln!(
            f,
            "{}{:.0} allocations of {:.1} MB a step",
            memory.unwrap_or_default(),
            self.allocations,
            self.allocated_bytes / 1e6
        )
    }
}

const GIB: f64 = (1u64 << 30) as f64;

impl Report {
    /// Kernels by time, against all of theirs together.
    fn kernels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kernels.is_empty() {
            return Ok(());
        }
        let all: f64 = self.kernels.iter().map(|time| time.seconds).sum();
        let mut rows = table(&["kernel", "starts", "ms a step", "share"]);
        for time in &self.kernels {
            let share = format!("{:.1} %", 100.0 * time.seconds / all.max(1e-12));
            rows.add_row([time.kernel.clone(), time.starts.to_string(), ms(time.seconds), share]);
        }
        right(&mut rows);
        writeln!(f, "{rows}")
    }

    fn speed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) =
            self.steps.iter().fold((f64::INFINITY, 0.0f64), |(a, b), &s| (a.min(s), b.max(s)));
        let rate = self.images_per_second();
        let a_core = match self.timed {
            Timed::HostStages => format!(", {:.1} a core", rate / self.threads.max(1) as f64),
            _ => String::new(),
        };
        writeln!(
            f,
            "{rate:.2} images/s{a_core}; a step takes {} (median of {}; {} to {})",
            ms(self.seconds()) + " ms",
            self.steps.len(),
            ms(least),
            ms(most)
        )
    }

    fn row(&self, stage: &StageReport) -> [String; 8] {
        let gflops = rate(stage.flops, stage.cost.seconds());
        let place = match (stage.place, self.timed) {
            // alone, they share the threads that were asked for
            (Place::Host { .. }, Timed::HostStages) => counted(self.threads, "thread"),
            (place, _) => words::place(place),
        };
        [
            stage.name.clone(),
            place,
            ms(stage.cost.seconds()),
            self.share(stage.cost.seconds()),
            gflops.map_or(dash(), |gflops| format!("{gflops:.1}")),
            gflops.map_or(dash(), |gflops| format!("{:.1} %", 100.0 * gflops / self.peak())),
            format!("{:.0}", stage.cost.allocations),
            format!("{:.1}", stage.cost.allocated_bytes / 1e6),
        ]
    }

    fn share(&self, seconds: f64) -> String {
        format!("{:.1} %", 100.0 * seconds / self.seconds().max(1e-12))
    }
}

fn ms(seconds: f64) -> String {
    format!("{:.2}", 1e3 * seconds)
}

fn dash() -> String {
    "-".into()
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
