//! `collate`: crops of pictures to normalised tensors, `global` (G, B, 3, H, W) and `local` (L, B, 3, h, w).
#[cfg(feature = "cuda")]
mod cuts;
mod on_device;
#[cfg(feature = "cuda")]
mod on_gpu;

use super::declare::*;
use super::range::Ranges;
use super::registry::Registered;
use super::types::Types;
use crate::data::Rgb8;
use crate::data::augment::{Crops, normalize_into};
use crate::graph::spec::DeviceChoice;
use crate::plan::cost;
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, Value};
use crate::tensor::{Batched, Device};
use on_device::Arrived;
use serde::{Deserialize, Serialize};

pub use on_device::{Cropper, Cut};
#[cfg(feature = "cuda")]
pub use on_gpu::OnGpu;

/// Gathers a micro-batch of crops in the order of the sampler and normalises their pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Collate {
    /// Mean of each channel, for pixels in 0..1 (ImageNet's).
    pub mean: (f64, f64, f64),
    /// Deviation of each channel (ImageNet's).
    pub deviation: (f64, f64, f64),
}

impl Default for Collate {
    fn default() -> Self {
        Collate { mean: (0.485, 0.456, 0.406), deviation: (0.229, 0.224, 0.225) }
    }
}

impl Declare for Collate {
    fn role(&self) -> Role {
        Role::Collate
    }

    fn rate(&self) -> Rate {
        Rate::Micro
    }

    fn on_host(&self) -> bool {
        true
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("crops", "the crops of one picture after the other")],
            outputs: vec![
                Port::new("global", "normalised global crops (G, B, 3, H, W)"),
                Port::new("local", "normalised local crops (L, B, 3, h, w)").optional(),
            ],
        }
    }

    fn problems(&self, scope: &Scope) -> Vec<Problem> {
        let mut ranges = Ranges::new(scope);
        let each = |three: (f64, f64, f64)| [three.0, three.1, three.2].into_iter().enumerate();
        for (index, mean) in each(self.mean) {
            ranges.number(&format!("mean.{index}"), mean, f64::is_finite, "a finite number");
        }
        for (index, deviation) in each(self.deviation) {
            let name = format!("deviation.{index}");
            ranges.number(&name, deviation, |d| d > 0.0 && d < 1e6, "a finite number above 0");
        }
        ranges.finish()
    }

    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let mut types = Types::new(given);
        let Some(EdgeType::Crops { global, global_size, local, local_size }) = types.at("crops") else {
            if let Some(other) = types.at("crops") {
                types.refuse("crops", "a picture's crops", other.to_string());
            }
            return Err(types.finish(Vec::new()).err().unwrap_or_default());
        };
        let tensor = |views: usize, side: usize| EdgeType::Tensor {
            dims: vec![views, scope.micro_batch, 3, side, side],
            batch: Some((1, Batch::Micro)),
        };
        types.finish(vec![tensor(*global, *global_size), tensor(*local, *local_size)])
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let (DeviceChoice::Cuda(_), Some(EdgeType::Crops { global, global_size, local, local_size })) =
            (scope.graph.device, given.get("crops"))
        else {
            return Cost::default();
        };
        let crops = [(*global, *global_size), (*local, *local_size)];
        let resident = cost::cutting(scope.micro_batch, &crops);
        Cost { bytes: resident, resident, ..Cost::default() }
    }
}

/// The running collation.
pub struct Running<D: Device> {
    mean: [f32; 3],
    deviation: [f32; 3],
    device: D,
    /// What makes the crops that are only drawn.
    cropper: Option<Box<dyn Cropper<D>>>,
}

impl<D: Registered> Running<D> {
    pub fn new(stage: &Collate, device: &D) -> Self {
        let of_three = |(red, green, blue): (f64, f64, f64)| [red as f32, green as f32, blue as f32];
        let (mean, deviation) = (of_three(stage.mean), of_three(stage.deviation));
        Running { mean, deviation, device: device.clone(), cropper: device.cropper() }
    }
}

impl<D: Device> Running<D> {
    /// [`Running::gather`] of crops that the device makes: global ones, and local ones where they are wanted.
    fn cut(&mut self, batch: &[Arrived<'_>], local: bool) -> Result<[Option<Value<D>>; 2], StageError> {
        let Some(cropper) = &mut self.cropper else {
            return Err(StageError::Bug("crops were left to a device that makes none".into()));
        };
        let (pictures, cuts) = on_device::lists(batch, local)?;
        let made = cropper.crop(&pictures, &cuts, batch.len(), self.mean, self.deviation)?;
        Ok(made.map(|made| made.map(Value::Later)))
    }

    /// (views, batch, 3, height, width) of one kind of crops, or nothing where there are none.
    fn gather(&self, batch: &[&Crops], kind: fn(&Crops) -> &[Rgb8]) -> Result<Option<Value<D>>, StageError> {
        let views = batch.first().map_or(0, |crops| kind(crops).len());
        let Some(first) = batch.first().and_then(|crops| kind(crops).first()) else { return Ok(None) };
        let (height, width) = (first.height, first.width);
        let mut numbers = vec![0.0; views * batch.len() * 3 * height * width];
        let mut slots = numbers.chunks_exact_mut(3 * height * width);
        for view in 0..views {
            for (crops, slot) in batch.iter().zip(&mut slots) {
                match kind(crops).get(view) {
                    Some(crop) if (crop.height, crop.width) == (height, width) => {
                        normalize_into(crop, self.mean, self.deviation, slot);
                    }
                    _ => return Err(StageError::Bug("the pictures of a batch have different crops".into())),
                }
            }
        }
        let dims = vec![views, batch.len(), 3, height, width];
        let tensor = Batched::from_host(&self.device, numbers, dims, Some(1));
        tensor.map(|tensor| Some(Value::Tensor(tensor))).map_err(|e| StageError::Device(e.to_string()))
    }
}

impl<D: Device> Stage<D> for Running<D> {
    fn fire(
        &mut self,
        _: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let wrong = || StageError::Bug("collate was handed no crops".into());
        let Some(Some(Value::Gathered(batch))) = inputs.values.first() else { return Err(wrong()) };
        let arrived = batch.iter().map(|value| match value {
            Value::Crops(_, crops) => Ok(Arrived::Made(crops)),
            Value::Cuts(_, cuts) => Ok(Arrived::Drawn(cuts)),
            _ => Err(wrong()),
        });
        let arrived: Vec<Arrived<'_>> = arrived.collect::<Result<_, _>>()?;
        let Some(crops) = arrived.iter().map(Arrived::made).collect::<Option<Vec<&Crops>>>() else {
            let [global, local] = self.cut(&arrived, outputs.wants(1))?;
            (outputs.values[0], outputs.values[1]) = (global, local);
            return Ok(());
        };
        outputs.values[0] = self.gather(&crops, |crops| &crops.global)?;
        if outputs.wants(1) {
            outputs.values[1] = self.gather(&crops, |crops| &crops.local)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stage::Sample;
    use dfdx::prelude::Cpu;
    use std::sync::Arc;

    #[test]
    fn views_come_first_then_pictures() {
        let crop =
            |level: u8, side: usize| Rgb8 { height: side, width: side, pixels: vec![level; 3 * side * side] };
        let sample = Sample { sequence: 0, epoch: 0, index: 0 };
        let picture = |level: u8| {
            let crops =
                Crops { global: vec![crop(level, 2), crop(level + 1, 2)], local: vec![crop(level + 2, 1)] };
            Value::<Cpu>::Crops(sample, Arc::new(crops))
        };
        let plain = Collate { mean: (0.0, 0.0, 0.0), deviation: (1.0, 1.0, 1.0) };
        let mut stage = Running::new(&plain, &Cpu::default());
        let values = [Some(Value::Gathered(vec![picture(10), picture(20), picture(30)]))];
        let mut given = [None, None];
        let horizon = crate::optim::schedule::Horizon { steps_per_epoch: 1, total_steps: 1 };
        let mut outputs = Outputs {
            values: &mut given,
            wanted: &[true, true],
            metrics: &mut Vec::new(),
            events: &mut Vec::new(),
        };
        let at = Moment { step: 0, micro: 0, micros: 1, horizon };
        stage.fire(&at, &mut Inputs { values: &values }, &mut outputs).unwrap();
        let levels = |value: &Option<Value<Cpu>>| {
            let Some(Value::Tensor(tensor)) = value else { panic!("no tensor") };
            let planes = tensor.dims[2..].iter().product();
            let host = tensor.to_host().unwrap();
            let levels = host.chunks_exact(planes).map(|c| (c[0] * 255.0).round() as u8).collect::<Vec<_>>();
            (tensor.dims.clone(), levels)
        };
        assert_eq!(levels(&given[0]), (vec![2, 3, 3, 2, 2], vec![10, 20, 30, 11, 21, 31]));
        assert_eq!(levels(&given[1]), (vec![1, 3, 3, 1, 1], vec![12, 22, 32]));
    }
}
