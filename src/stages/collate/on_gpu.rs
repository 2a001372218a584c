//! Crops on an NVIDIA GPU, with the levels that the host would have made.

use std::sync::{Arc, Mutex, PoisonError};

use dfdx::prelude::{Cuda, CudaError};

use super::cuts;
use super::on_device::{Cropper, Cut};
use crate::data::Rgb8;
use crate::kernels::cuda::Gpu;
use crate::kernels::cuda::crops::{Crop, MAX_SIDE, Normal, Pictures, Records, Staging, crops};
use crate::runtime::later::Later;
use crate::runtime::stage::StageError;
use crate::tensor::{Batched, Crossing};

/// Sends pictures to the GPU, beside its kernels, and gets ready what makes crops of them there; waits for nothing but the pictures before
/// the last ones, whose place in the host's memory it takes.
pub struct OnGpu {
    device: Cuda,
    staging: Staging,
    /// Of whoever makes the crops, on a thread of its own.
    records: Arc<Mutex<Records>>,
}

impl OnGpu {
    pub fn new(device: &Cuda) -> Self {
        OnGpu { device: device.clone(), staging: Staging::default(), records: Arc::default() }
    }

    fn list(
        &self,
        pictures: &Arc<Pictures>,
        list: &[Cut],
        batch: usize,
        normal: Normal,
    ) -> Result<Option<Later<Cuda>>, StageError> {
        let Some((_, first)) = list.first() else { return Ok(None) };
        let list: Option<Vec<Crop>> =
            list.iter().map(|(picture, drawn)| cuts::crop(drawn, *picture)).collect();
        let unknown = || StageError::Bug("a crop of an interpolation that the GPU has not".into());
        let (list, size) = (list.ok_or_else(unknown)?, first.size);
        let dims = vec![list.len() / batch.max(1), batch, 3, size, size];
        let (pictures, records) = (pictures.clone(), self.records.clone());
        let device = Crossing::new(self.device.clone());
        Ok(Some(Later::new(move || {
            let mut made = Batched::empty(&*device, dims, Some(1)).map_err(failed)?;
            let gpu = Gpu::of(&device).map_err(failed)?;
            // a panic elsewhere leaves buffers behind, whatever is in them
            let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
            crops(gpu, &mut records, &pictures, &list, size, normal, made.view_mut()).map_err(failed)?;
            Ok(made)
        })))
    }
}

fn failed(error: CudaError) -> StageError {
    StageError::Device(error.to_string())
}

impl Cropper<Cuda> for OnGpu {
    fn largest(&self) -> usize {
        MAX_SIDE
    }

    fn crop(
        &mut self,
        pictures: &[&Rgb8],
        lists: &[Vec<Cut>; 2],
        batch: usize,
        mean: [f32; 3],
        deviation: [f32; 3],
    ) -> Result<[Option<Later<Cuda>>; 2], StageError> {
        let lent: Vec<_> = pictures.iter().map(|picture| cuts::picture(picture)).collect();
        let gpu = Gpu::of(&self.device).map_err(failed)?;
        let sent = Arc::new(self.staging.send(gpu, &lent).map_err(failed)?);
        let normal = Normal { mean, deviation };
        let [global, local] = lists;
        Ok([self.list(&sent, global, batch, normal)?, self.list(&sent, local, batch, normal)?])
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::Cpu;

    use super::*;
    use crate::data::augment::{Cuts, MultiCropSpec, Scratch, draws, multi_crop};
    use crate::kernels::cuda::probe::device;
    use crate::keyed::Key;
    use crate::optim::schedule::Horizon;
    use crate::runtime::stage::{Inputs, Moment, Outputs, Sample, Stage, Value};
    use crate::stages::collate::{Collate, Running};
    use crate::stages::registry::Registered;

    /// What `collate` makes of a batch: shape and numbers of its outputs.
    fn collated<D: Registered>(device: &D, batch: Vec<Value<D>>) -> Vec<(Vec<usize>, Vec<f32>)> {
        let (mut given, values) = ([None, None], [Some(Value::Gathered(batch))]);
        let mut outputs = Outputs {
            values: &mut given,
            wanted: &[true, true],
            metrics: &mut Vec::new(),
            events: &mut Vec::new(),
        };
        let horizon = Horizon { steps_per_epoch: 1, total_steps: 1 };
        let at = Moment { step: 0, micro: 0, micros: 1, horizon };
        let mut stage = Running::new(&Collate::default(), device);
        stage.fire(&at, &mut Inputs { values: &values }, &mut outputs).unwrap();
        let tensors = given.into_iter().map(|value| match value {
            Some(Value::Tensor(tensor)) => (tensor.dims.clone(), tensor.to_host().unwrap()),
            Some(Value::Later(later)) => {
                let tensor = later.make().unwrap();
                (tensor.dims.clone(), tensor.to_host().unwrap())
            }
            _ => panic!("no tensor"),
        });
        tensors.collect()
    }

    #[test]
    fn a_batch_is_the_hosts_whoever_makes_its_crops() {
        let Some(device) = device() else { return };
        let spec = MultiCropSpec { global_size: 32, local_size: 16, local_crops: 3, ..Default::default() };
        let (mut on_cpu, mut on_gpu) = (Vec::new(), Vec::new());
        for index in 0..4 {
            let (height, width) = (40 + 7 * index, 61 - 5 * index);
            let picture =
                Rgb8::from_fn(height, width, |y, x| [3 * y + x, 4 * x, x * y].map(|level| level as u8));
            let sample = Sample { sequence: index as u64, epoch: 0, index };
            let key = Key::new(3).with(index as u64);
            let crops = Arc::new(multi_crop(&picture, &spec, key, &mut Scratch::default()));
            on_cpu.push(Value::Crops(sample, crops.clone()));
            let (global, local) = draws(&spec, key, height, width);
            // one picture's crops are made by the host, as those of a large picture are
            on_gpu.push(match index {
                2 => Value::Crops(sample, crops),
                _ => Value::Cuts(sample, Arc::new(Cuts { picture: Arc::new(picture), global, local })),
            });
        }
        assert!(collated(&Cpu::default(), on_cpu) == collated(&device, on_gpu), "crops are not the host's");
    }
}
