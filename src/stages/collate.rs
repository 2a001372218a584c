//! `collate`: crops of pictures to normalised tensors, `global` (2, B, 3, H, W) and `local` (L, B, 3, h, w).
use super::declare::*;
use crate::data::Rgb8;
use crate::data::augment::{Crops, normalize_into};
use crate::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, Value};
use crate::tensor::{Batched, Device};
use serde::{Deserialize, Serialize};

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

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("crops", "the crops of each picture, 8-bit")],
            outputs: vec![
                Port::new("global", "the global crops, (2, B, 3, H, W)"),
                Port::new("local", "the local crops, (L, B, 3, h, w)"),
            ],
        }
    }

    fn problems(&self, _: &Scope) -> Vec<Problem> {
        let ((a, b, c), (x, y, z)) = (self.mean, self.deviation);
        let mean = Problem::unless(
            [a, b, c].iter().all(|m| m.is_finite()),
            "mean",
            format!("{:?}", self.mean),
            "finite numbers",
        );
        let positive = [x, y, z].iter().all(|d| d.is_finite() && *d > 0.0);
        let deviation =
            Problem::unless(positive, "deviation", format!("{:?}", self.deviation), "numbers above 0");
        mean.into_iter().chain(deviation).collect()
    }

    fn infer(&self, scope: &Scope, given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let EdgeType::Crops { global, global_size, local, local_size } = *given.need("crops")? else {
            return Err(given.mismatch("crops", "the crops of a picture"));
        };
        let batch = |views: usize, side: usize| EdgeType::Tensor {
            dims: vec![views, scope.micro_batch, 3, side, side],
            batch: Some((1, Batch::Micro)),
        };
        Ok(vec![batch(global, global_size), batch(local, local_size)])
    }

    fn cost(&self, scope: &Scope, given: &Given) -> Cost {
        let Ok(types) = self.infer(scope, given) else { return Cost::default() };
        Cost { bytes: types.iter().map(EdgeType::bytes).sum(), ..Cost::default() }
    }
}

/// The running collation.
pub struct Running<D: Device> {
    mean: [f32; 3],
    deviation: [f32; 3],
    device: D,
}

impl<D: Device> Running<D> {
    pub fn new(stage: &Collate, device: &D) -> Self {
        let of_three = |(red, green, blue): (f64, f64, f64)| [red as f32, green as f32, blue as f32];
        Running { mean: of_three(stage.mean), deviation: of_three(stage.deviation), device: device.clone() }
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
        let crops = batch.iter().map(|value| match value {
            Value::Crops(_, crops) => Ok(crops.as_ref()),
            _ => Err(wrong()),
        });
        let crops: Vec<&Crops> = crops.collect::<Result<_, _>>()?;
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
