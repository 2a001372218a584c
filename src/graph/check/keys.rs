//! The graph's own keys: batch, duration, device and precision; and, in a file of its own, the network.

mod network;

use super::{Draft, DraftNode};
use crate::graph::load::Loaded;
use crate::graph::problem::Diagnostic;
use crate::graph::spec::{DeviceChoice, GraphSpec, Precision};
use crate::optim::schedule::{Horizon, Span};
use crate::plan::BatchPlan;
use crate::stages::range::{impossible, word};

/// How the batch is cut; at least one image each, whatever the graph says.
pub fn batch(graph: &GraphSpec) -> BatchPlan {
    let global = graph.global_batch.max(1);
    let micro = graph.micro_batch.unwrap_or(global).clamp(1, global);
    BatchPlan { global, micro: if global.is_multiple_of(micro) { micro } else { global } }
}

/// Updates in an epoch, where the source states its size.
pub fn steps_per_epoch(loaded: &Loaded, nodes: &[DraftNode], batch: BatchPlan) -> Option<u64> {
    if !loaded.sound(&["global_batch"]) {
        return None;
    }
    let images = nodes.iter().find_map(|node| node.images)?;
    Some((images / batch.global) as u64)
}

/// Judges every key.
pub fn judge(loaded: &Loaded, draft: &mut Draft) {
    let mut judge = Judge { loaded, found: Vec::new() };
    judge.name(draft.graph);
    judge.batch(draft);
    judge.duration(draft);
    judge.network(&draft.graph.network);
    judge.device(draft.graph);
    draft.problems.append(&mut judge.found);
}

struct Judge<'l> {
    loaded: &'l Loaded,
    found: Vec<Diagnostic>,
}

impl Judge<'_> {
    /// Says that a key does not fit, unless it could not be read in the first place.
    fn unfit(
        &mut self,
        key: &str,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> Option<&mut Diagnostic> {
        let path: Vec<&str> = key.split('.').collect();
        if !self.loaded.sound(&path) {
            return None;
        }
        let problem = Diagnostic::error(self.loaded.place(&path), format!("`{key}` does not fit"))
            .key(key)
            .expected(expected)
            .found(found.to_string());
        self.found.push(problem);
        self.found.last_mut()
    }

    fn help(problem: Option<&mut Diagnostic>, help: impl Into<String>) {
        if let Some(problem) = problem {
            problem.help = Some(help.into());
        }
    }

    fn name(&mut self, graph: &GraphSpec) {
        let name = &graph.name;
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
        if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(plain) {
            let expected = "a name for the run's folder: letters, digits, `-`, `_`, `.`, at most 100";
            self.unfit("name", expected, format!("{name:?}"));
        }
    }

    fn batch(&mut self, draft: &Draft) {
        let graph = draft.graph;
        if !(1..=1 << 20).contains(&graph.global_batch) {
            self.unfit("global_batch", "1 to 1048576 images", graph.global_batch);
            return;
        }
        if !self.loaded.sound(&["global_batch"]) {
            return;
        }
        if let Some(micro) = graph.micro_batch
            && (micro == 0 || !graph.global_batch.is_multiple_of(micro))
        {
            let divisors: Vec<usize> =
                (1..=graph.global_batch).filter(|n| graph.global_batch.is_multiple_of(*n)).collect();
            let near = divisors.iter().rev().find(|n| **n <= micro.max(1)).copied().unwrap_or(1);
            let expected = format!("a number that divides global_batch, {}", graph.global_batch);
            let problem = self.unfit("micro_batch", expected, micro);
            Self::help(problem, format!("for instance {near}"));
        }
        for node in &draft.nodes {
            let Some(images) = node.images.filter(|images| *images < graph.global_batch) else { continue };
            let expected = format!("at most the {images} images of `{}`", node.name);
            let problem = self.unfit("global_batch", expected, graph.global_batch);
            Self::help(problem, "an epoch would have no step; set a smaller batch, or give more images");
        }
    }

    fn duration(&mut self, draft: &Draft) {
        let duration = draft.graph.duration;
        if let Span::Fraction(_) = duration {
            self.unfit(
                "duration",
                "Epochs(…) or Steps(…): there is no whole to take a fraction of",
                word(duration),
            );
            return;
        }
        if let Some(expected) = impossible(duration) {
            self.unfit("duration", expected, word(duration));
            return;
        }
        let steps = match draft.steps_per_epoch {
            Some(0) => return,
            Some(steps_per_epoch) => duration.steps(Horizon { steps_per_epoch, total_steps: 0 }),
            None => u64::from(!matches!(duration, Span::Steps(0) | Span::Epochs(0.0))),
        };
        if steps == 0 {
            self.unfit("duration", "at least one update of the weights", word(duration));
        }
    }

    fn device(&mut self, graph: &GraphSpec) {
        // what `Auto` stands for is settled where a graph is run; whoever reads one only, takes any precision
        if graph.device == DeviceChoice::Auto {
            return;
        }
        if matches!(graph.device, DeviceChoice::Cuda(_)) {
            if cfg!(feature = "cuda") {
                return;
            }
            let problem =
                self.unfit("device", "a program with CUDA and a machine with a GPU when it runs", "Cuda");
            if let Some(problem) = problem {
                *problem = problem.clone().as_note();
            }
            return;
        }
        let on_cpu = "F32, Bf16 or Auto: this graph runs on the CPU";
        match graph.precision {
            Precision::F16 => {
                let problem = self.unfit("precision", on_cpu, "F16");
                Self::help(problem, "16-bit IEEE floats with loss scaling are for GPUs: --device cuda");
            }
            Precision::F32 | Precision::Bf16 | Precision::Auto => {}
        }
    }
}
