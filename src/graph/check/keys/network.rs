//! The graph's network: backbone, head, first weights, and what is done with its blocks.

use std::path::Path as FilePath;

use super::Judge;
use crate::graph::spec::{Backbone, HeadSpec, Init, NetworkSpec, Recompute, Stem};

/// Patches for which networks are compiled.
const PATCHES: [usize; 4] = [4, 8, 14, 16];

impl Judge<'_> {
    pub(super) fn network(&mut self, network: &NetworkSpec) {
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
        self.blocks(network);
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

    /// What is done with a transformer's blocks, and never with a residual network's.
    fn blocks(&mut self, network: &NetworkSpec) {
        let (resnet, drop_path) = (network.backbone.resnet().is_some(), format!("{:?}", network.drop_path));
        if !(0.0..1.0).contains(&network.drop_path) {
            self.unfit("network.drop_path", "a probability, 0 to below 1", drop_path);
        } else if network.drop_path > 0.0 && resnet {
            let expected = "0: stochastic depth leaves out a transformer's blocks, not a residual network's";
            self.unfit("network.drop_path", expected, drop_path);
        }
        if network.recompute != Recompute::Nothing && resnet {
            let expected = "Nothing: a transformer's blocks are computed again, not a residual network's";
            let problem = self.unfit("network.recompute", expected, format!("{:?}", network.recompute));
            Self::help(
                problem,
                "a residual network takes less memory with a smaller global_batch or smaller crops",
            );
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
}
