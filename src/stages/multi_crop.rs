//! `multi_crop`: the paper's global and local crops of one picture, augmented (section 3.1, appendix).
use std::sync::Arc;

use super::declare::*;
use super::range::Ranges;
use super::types::Types;
pub use crate::data::augment::MultiCropSpec as MultiCrop;
use crate::data::augment::{Cuts, Scratch, draws, multi_crop};
use crate::keyed::Key;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, Value};
use crate::tensor::Device;

impl Declare for MultiCrop {
    fn role(&self) -> Role {
        Role::MultiCrop
    }

    fn rate(&self) -> Rate {
        Rate::Sample
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("images", "a picture, 8-bit RGB")],
            outputs: vec![Port::new("crops", "its global and its local crops, 8-bit")],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        ranges.count("workers", self.workers.unwrap_or(1), 1, 1024);
        for fault in self.faults() {
            ranges.push(Problem::parameter(fault.field, fault.expected, fault.found));
        }
        let patch = scope.graph.network.backbone.patch().max(1);
        let local = (self.local_crops > 0).then_some(("local_size", self.local_size));
        for (name, size) in [Some(("global_size", self.global_size)), local].into_iter().flatten() {
            if size > 0 && size % patch != 0 {
                let near = ((size as f64 / patch as f64).round() as usize).max(1) * patch;
                let expected = format!("a multiple of the backbone's patch, {patch}");
                let help = format!("for instance {near}, or another patch in `network.backbone`");
                let problem = Problem::parameter(name, expected, size.to_string()).help(help);
                ranges.push(problem.by(Fault::Graph("network.backbone".into())));
            }
        }
        ranges.finish()
    }

    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        types.only("images", &EdgeType::Image);
        // what is wrong with the sizes was said of them, and need not be said of everything that takes them
        if !self.problems(scope).is_empty() {
            return Err(types.finish(Vec::new()).err().unwrap_or_default());
        }
        types.finish(vec![EdgeType::Crops {
            global: self.global_crops,
            global_size: self.global_size,
            local: self.local_crops,
            local_size: self.local_size,
        }])
    }

    fn cost(&self, _scope: &Scope, _given: &Given) -> Cost {
        Cost::default()
    }

    fn workers(&self) -> Option<usize> {
        self.workers
    }
}

/// Bytes of a picture beyond which its crops are made here whatever the device can: the way there would cost more than they.
const LARGE: usize = 8 << 20;

/// Bytes that the pictures of a batch may take on the device: of a large batch, smaller ones than [`LARGE`] stay here too.
const BATCH: usize = 1 << 30;

/// A running augmentation. Draws are keyed by seed, epoch and picture.
pub struct Running {
    stage: MultiCrop,
    key: Key,
    scratch: Scratch,
    /// Bytes of the largest pictures whose crops the device makes; none where it makes no crops.
    on_device: Option<usize>,
}

impl Running {
    /// Where the device makes the crops, only draws are made here; `on_device` is how many pictures it then has at a time.
    pub fn new(stage: &MultiCrop, seed: u64, on_device: Option<usize>) -> Self {
        let key = Key::new(seed).named("multi_crop");
        let on_device = on_device.map(|pictures| LARGE.min(BATCH / pictures.max(1)));
        Running { stage: stage.clone(), key, scratch: Scratch::default(), on_device }
    }
}

impl<D: Device> Stage<D> for Running {
    fn fire(
        &mut self,
        _: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let Some(Some(Value::Image(sample, picture))) = inputs.values.first() else {
            return Err(StageError::Bug("multi_crop was handed no picture".into()));
        };
        let key = self.key.with(sample.epoch).with(sample.index as u64);
        outputs.values[0] = Some(if self.on_device.is_some_and(|most| picture.pixels.len() <= most) {
            let (global, local) = draws(&self.stage, key, picture.height, picture.width);
            Value::Cuts(*sample, Arc::new(Cuts { picture: picture.clone(), global, local }))
        } else {
            let crops = multi_crop(picture, &self.stage, key, &mut self.scratch);
            Value::Crops(*sample, Arc::new(crops))
        });
        Ok(())
    }
}
