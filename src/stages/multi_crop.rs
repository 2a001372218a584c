//! `multi_crop`: the paper's global and local crops of one picture, augmented (section 3.1, appendix).
use std::sync::Arc;

use super::declare::*;
use crate::data::augment::{Scratch, multi_crop};
use crate::keyed::Key;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, Value};
use crate::tensor::Device;

pub use crate::data::augment::MultiCropSpec as MultiCrop;

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
            outputs: vec![Port::new("crops", "its global and local crops, 8-bit")],
        }
    }

    fn problems(&self, _: &Scope) -> Vec<Problem> {
        let workers =
            Problem::unless((1..=1024).contains(&self.workers), "workers", self.workers, "1 to 1024 threads");
        let faults = self.faults().into_iter();
        let faults = faults.filter_map(|f| Problem::unless(false, f.field, f.found, f.expected));
        workers.into_iter().chain(faults).collect()
    }

    fn infer(&self, _: &Scope, _: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        Ok(vec![EdgeType::Crops {
            global: MultiCrop::GLOBAL,
            global_size: self.global_size,
            local: self.local_crops,
            local_size: self.local_size,
        }])
    }

    fn workers(&self) -> usize {
        self.workers
    }
}

/// A running augmentation. Draws are keyed by seed, epoch and picture.
pub struct Running {
    stage: MultiCrop,
    key: Key,
    scratch: Scratch,
}

impl Running {
    pub fn new(stage: &MultiCrop, seed: u64) -> Self {
        Running { stage: stage.clone(), key: Key::new(seed).named("multi_crop"), scratch: Scratch::default() }
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
        let crops = multi_crop(picture, &self.stage, key, &mut self.scratch);
        outputs.values[0] = Some(Value::Crops(*sample, Arc::new(crops)));
        Ok(())
    }
}
