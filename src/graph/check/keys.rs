//! The graph's own keys: batch, duration, network, device and precision.

use std::path::Path as FilePath;

use super::{Draft, DraftNode};
use crate::graph::load::Loaded;
use crate::graph::problem::Diagnostic;
use crate::graph::spec::{Backbone, DeviceChoice, GraphSpec, HeadSpec, Init, Precision, Stem};
use crate::optim::schedule::{Horizon, Span};
use crate::plan::BatchPlan;
use crate::stages::range::{impossible, word};

/// Patches for which networks are compiled.
const PATCHES: [usize; 4] = [4, 8, 14, 16];

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
    judge.network(draft.graph);
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

    fn network(&mut self, graph: &GraphSpec) {
        let network = &graph.network;
        self.vit(&network.backbone);
        for (key, width, most) in [
            ("network.head.hidden", network.head.hidden, 1 << 20),
            ("network.head.bottleneck", network.head.bottleneck, 1 << 20),
            ("network.head.out_dim", network.head.out_dim, 1 << 24),
        ] {
            if !(1..=most).contains(&width) {
                self.unfit(key, format!("1 to {most}"), width);
            }
        }
        if !(1..=4).contains(&network.head.layers) {
            self.unfit(
                "network.head.layers",
                "1 to 4 linear layers before the prototypes",
                network.head.layers,
            );
        }
        self.unused(&network.head);
        if !(0.0..1.0).contains(&network.drop_path) {
            self.unfit(
                "network.drop_path",
                "a probability, 0 to below 1",
                format!("{:?}", network.drop_path),
            );
        } else if network.drop_path > 0.0 && network.backbone.resnet().is_some() {
            let expected = "0: stochastic depth leaves out a transformer's blocks, not a residual network's";
            self.unfit("network.drop_path", expected, format!("{:?}", network.drop_path));
        }
        if let Init::Weights(path) = &network.init
            && !FilePath::exists(path)
        {
            let shown = path.display();
            let problem = self.unfit("network.init", "a file that exists by the time of the run", shown);
            if let Some(problem) = problem {
                *problem = problem.clone().as_note();
            }
        }
    }

    /// Patch and picture of a vision transformer.
    fn vit(&mut self, backbone: &Backbone) {
        let Some((vit, _)) = backbone.vit() else { return };
        if vit.registers > 1 << 10 {
            self.unfit("network.backbone.registers", "0 to 1024", vit.registers);
        }
        if !PATCHES.contains(&vit.patch) {
            self.unfit("network.backbone.patch", "4, 8, 14 or 16", vit.patch);
        } else if vit.image == 0 || vit.image > 1 << 14 || !vit.image.is_multiple_of(vit.patch) {
            let near = ((vit.image as f64 / vit.patch as f64).round() as usize).clamp(1, 1024) * vit.patch;
            let expected = format!("a multiple of the patch, {}, up to 16384", vit.patch);
            let problem = self.unfit("network.backbone.image", expected, vit.image);
            Self::help(problem, format!("for instance {near}"));
        } else if vit.stem == Stem::Conv && !vit.patch.is_power_of_two() {
            let expected = "4, 8 or 16 under a convolutional stem, which halves the picture again and again";
            self.unfit("network.backbone.patch", expected, vit.patch);
        }
    }

    /// Notes what is written of the head and says nothing.
    fn unused(&mut self, head: &HeadSpec) {
        let known = |name: &str| self.loaded.sound(&["network", "head", name]);
        let (bare, flat) = (!head.prototypes && known("prototypes"), head.layers == 1 && known("layers"));
        for (name, value, unused, why) in [
            (
                "out_dim",
                head.out_dim.to_string(),
                bare,
                "the outputs are those of `bottleneck` without prototypes",
            ),
            (
                "norm_last_layer",
                head.norm_last_layer.to_string(),
                bare,
                "there is no last layer without prototypes",
            ),
            ("hidden", head.hidden.to_string(), flat, "an MLP of one layer has none that is hidden"),
        ] {
            let path: Vec<String> = ["network", "head", name].map(str::to_owned).into();
            if unused && self.loaded.tree.find(&path).is_some() {
                let problem = self.unfit(&format!("network.head.{name}"), format!("nothing: {why}"), value);
                if let Some(problem) = problem {
                    *problem = problem.clone().as_note();
                }
            }
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
                Self::help(
                    problem,
                    "16-bit IEEE floats with loss scaling are for GPUs: --set 'device=Cuda(0)'",
                );
            }
            Precision::F32 | Precision::Bf16 | Precision::Auto => {}
        }
    }
}
