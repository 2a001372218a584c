//! `crops.png`: the crops of the first pictures of a run as the networks were shown them, normalisation taken back.

use super::attention::{enlarge, grid};
use super::{Drawn, times};
use crate::data::rgb::Rgb8;
use crate::nn::weights::failed;
use crate::plan::{NodeId, Plan};
use crate::runtime::stage::{Moment, StageError, Value};
use crate::runtime::watch::Watch;
use crate::stages::collate::Collate;
use crate::stages::{Role, StageSpec};
use crate::tensor::{Batched, Device};

/// Pictures whose crops are shown.
const PICTURES: usize = 4;
/// Pixels between two crops.
const GAP: usize = 4;

/// Looks on at the student's inputs in the first step that it sees, and draws a row for each picture: its global crops, then its local
/// ones.
pub struct Crops {
    student: Option<NodeId>,
    mean: [f32; 3],
    deviation: [f32; 3],
    drawn: Option<Rgb8>,
    done: bool,
}

impl Crops {
    /// For a plan's student; where it has none, nothing is drawn.
    pub fn new(plan: &Plan) -> Self {
        let student = plan.nodes.iter().position(|node| node.role == Role::Student).map(NodeId);
        let collate = plan.nodes.iter().find_map(|node| match &node.stage {
            StageSpec::Collate(collate) => Some(collate.clone()),
            _ => None,
        });
        let Collate { mean, deviation } = collate.unwrap_or_default();
        let of_three = |(red, green, blue): (f64, f64, f64)| [red as f32, green as f32, blue as f32];
        let (mean, deviation) = (of_three(mean), of_three(deviation));
        Crops { student, mean, deviation, drawn: None, done: false }
    }

    /// For each picture its views in a tensor (views, batch, 3, height, width); none in a tensor of another form.
    fn views<D: Device>(&self, crops: &Batched<D>, times: usize) -> Result<Vec<Vec<Rgb8>>, D::Err> {
        let [views, batch, 3, height, width] = crops.dims[..] else { return Ok(Vec::new()) };
        let (numbers, size) = (crops.to_host()?, 3 * height * width);
        let view = |view: usize, picture: usize| {
            let start = (view * batch + picture) * size;
            enlarge(&self.levels(&numbers[start..start + size], height, width), times)
        };
        let row = |picture| (0..views).map(|index| view(index, picture)).collect();
        Ok((0..batch.min(PICTURES)).map(row).collect())
    }

    /// Planes (3, height, width) as they were before they were normalised.
    fn levels(&self, planes: &[f32], height: usize, width: usize) -> Rgb8 {
        let plane = height * width;
        Rgb8::from_fn(height, width, |y, x| {
            [0, 1, 2].map(|channel| {
                let value = planes[channel * plane + y * width + x];
                // numbers beyond a byte's become the nearest, and what is none becomes 0
                ((value * self.deviation[channel] + self.mean[channel]) * 255.0).round() as u8
            })
        })
    }
}

/// Small crops as a block of at most this height, where so many lines have room.
fn block(views: &[Rgb8], height: usize) -> Rgb8 {
    let each = views.first().map_or(1, |view| view.height);
    let lines = ((height + GAP) / (each + GAP)).max(1);
    let columns = views.len().div_ceil(lines).max(1);
    grid(&views.chunks(columns).map(<[Rgb8]>::to_vec).collect::<Vec<_>>(), GAP)
}

impl<D: Device> Watch<D> for Crops {
    fn saw(
        &mut self,
        node: NodeId,
        _: &Moment,
        inputs: &[Option<Value<D>>],
        _: &[Option<Value<D>>],
    ) -> Result<(), StageError> {
        if self.done || self.student != Some(node) {
            return Ok(());
        }
        self.done = true;
        let (mut rows, mut enlarged): (Vec<Vec<Rgb8>>, _) = (Vec::new(), None);
        for input in inputs {
            let Some(Value::Tensor(crops)) = input else { continue };
            // all by the same factor, so that a local crop is as much smaller as it is
            let times = *enlarged.get_or_insert(times(crops.dims.last().copied().unwrap_or(1)));
            for (index, views) in self.views(crops, times).map_err(failed)?.into_iter().enumerate() {
                match rows.get_mut(index) {
                    Some(row) => row.push(block(&views, row[0].height)),
                    None => rows.push(views),
                }
            }
        }
        self.drawn = (!rows.is_empty()).then(|| grid(&rows, GAP));
        Ok(())
    }

    fn report(&mut self) -> Result<Vec<(&'static str, f64)>, StageError> {
        Ok(Vec::new())
    }

    fn pictures(&mut self) -> Result<Vec<Drawn>, StageError> {
        let drawn = self.drawn.take();
        Ok(drawn.map(|picture| Drawn { name: "crops".into(), picture }).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::normalize_into;
    use dfdx::prelude::Cpu;

    #[test]
    fn small_crops_stand_in_lines() {
        let check = |count: usize, side: usize, size: (usize, usize)| {
            let block = block(&vec![Rgb8::new(side, side); count], 224);
            assert_eq!((block.height, block.width), size, "{count} of {side}");
        };
        check(8, 96, (196, 4 * 96 + 3 * GAP));
        check(3, 96, (196, 2 * 96 + GAP));
        check(2, 224, (224, 2 * 224 + GAP));
    }

    #[test]
    fn crops_are_drawn_as_they_were_before_they_were_normalised() {
        let Collate { mean, deviation } = Collate::default();
        let of_three = |(a, b, c): (f64, f64, f64)| [a as f32, b as f32, c as f32];
        let (mean, deviation) = (of_three(mean), of_three(deviation));
        let mut watch = Crops { student: Some(NodeId(7)), mean, deviation, drawn: None, done: false };
        let level = |view: usize, picture: usize| {
            Rgb8::from_fn(96, 96, |_, x| [(view * 40 + picture * 7) as u8, x as u8, 255])
        };
        let (views, batch) = (2, PICTURES + 3);
        let mut numbers = vec![0.0; views * batch * 3 * 96 * 96];
        for (index, slot) in numbers.chunks_exact_mut(3 * 96 * 96).enumerate() {
            normalize_into(&level(index / batch, index % batch), mean, deviation, slot);
        }
        let device = Cpu::default();
        let tensor = Batched::from_host(&device, numbers, vec![views, batch, 3, 96, 96], Some(1)).unwrap();
        let inputs = [Some(Value::<Cpu>::Tensor(tensor)), None];
        let horizon = crate::optim::schedule::Horizon { steps_per_epoch: 1, total_steps: 1 };
        let at = Moment { step: 0, micro: 0, micros: 1, horizon };
        watch.saw(NodeId(2), &at, &inputs, &[]).unwrap();
        assert!(Watch::<Cpu>::pictures(&mut watch).unwrap().is_empty());
        watch.saw(NodeId(7), &at, &inputs, &[]).unwrap();
        let drawn = Watch::<Cpu>::pictures(&mut watch).unwrap();
        let rows: Vec<Vec<Rgb8>> =
            (0..PICTURES).map(|picture| vec![level(0, picture), level(1, picture)]).collect();
        assert_eq!(drawn, [Drawn { name: "crops".into(), picture: grid(&rows, GAP) }]);
        // once is enough
        watch.saw(NodeId(7), &at, &inputs, &[]).unwrap();
        assert!(Watch::<Cpu>::pictures(&mut watch).unwrap().is_empty());
    }
}
