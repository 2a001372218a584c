//! A small DINO of made-up stages, for tests of the runtime: three weights, and arithmetic that every bit of order shows in.

use std::sync::Arc;

use dfdx::prelude::Cpu;
use indexmap::IndexMap;

use super::stage::{Event, Inputs, Moment, Outputs, Sample, SavedTensor, Stage, StageError, State, Value};
use crate::data::augment::Crops;
use crate::data::rgb::Rgb8;
use crate::data::source::Raw;
use crate::graph::spec::*;
use crate::keyed::Key;
use crate::nn::network::Gradients;
use crate::optim::schedule::Span;
use crate::plan::*;
use crate::stages::{Batch, Cost, EdgeType, Port, Rate, Role, StageSpec};
use crate::tensor::{Batched, Device};

type In<'a, 'b> = &'a mut Inputs<'b, Cpu>;
type Out<'a, 'b> = &'a mut Outputs<'b, Cpu>;
type Fired = Result<(), StageError>;

/// Three numbers behind an `Arc`, as weights and as gradients.
fn three(values: &[f32]) -> Arc<Gradients<Cpu>> {
    let mut buffer = Cpu::default().zeroed(3).unwrap();
    Cpu::buffer_mut(&mut buffer).copy_from_slice(values);
    Arc::new(Gradients::new(vec![buffer]))
}

fn numbers(value: &Option<Value<Cpu>>) -> Vec<f32> {
    match value {
        Some(Value::Gradients(three)) => Cpu::buffer(&three.buffers[0]).to_vec(),
        Some(Value::Tensor(tensor)) => tensor.to_host().unwrap(),
        _ => panic!("no numbers arrived"),
    }
}

fn tensor(values: Vec<f32>) -> Option<Value<Cpu>> {
    let dims = vec![1, values.len() / 3, 3];
    Some(Value::Tensor(Batched::from_host(&Cpu::default(), values, dims, Some(1)).unwrap()))
}

fn saved(values: &[f32]) -> SavedTensor {
    SavedTensor::F32 { dims: vec![3], values: values.to_vec() }
}

fn restored(state: &mut State, key: &str) -> Result<Vec<f32>, StageError> {
    match state.remove(key) {
        Some(SavedTensor::F32 { values, .. }) => Ok(values),
        _ => Err(StageError::Restore(format!("{key} is missing"))),
    }
}

/// All stages in one: `role` says which it is, `state` and `pending` are what it keeps.
struct Double {
    role: Role,
    owned: Arc<Gradients<Cpu>>,
    state: Vec<f32>,
    pending: Vec<f32>,
    /// Student: its crops between the halves. Loss: its gradient.
    tape: Vec<f32>,
}

/// The stage of a node.
pub fn stage(plan: &Plan, node: NodeId) -> Box<dyn Stage<Cpu>> {
    let (owned, state) = (three(&[0.5, -0.25, 1.0]), vec![0.0; 3]);
    let role = plan.nodes[node.0].role.clone();
    Box::new(Double { role, owned, pending: state.clone(), tape: state.clone(), state })
}

impl Double {
    fn owned(&mut self) -> Result<&mut [f32], StageError> {
        let owned = Arc::get_mut(&mut self.owned).ok_or_else(|| StageError::Bug("still lent".into()))?;
        Ok(Cpu::buffer_mut(&mut owned.buffers[0]))
    }

    fn host(&self, at: &Moment, inputs: In, outputs: Out) -> Fired {
        outputs.values[0] = match (&self.role, &inputs.values.first()) {
            (Role::Source, _) => {
                let sequence = at.step * at.micros as u64 + at.micro as u64;
                let sample = Sample { sequence, epoch: at.epoch(), index: sequence as usize % 10 };
                Some(Value::Raw(sample, Arc::new(Raw::Encoded(vec![]))))
            }
            (Role::Decode, Some(Some(Value::Raw(sample, _)))) => {
                // some are slow, so that workers overtake each other
                std::thread::sleep(std::time::Duration::from_micros(50 * (sample.sequence % 4)));
                let bits = Key::new(sample.epoch).with(sample.index as u64).draws().bits().to_le_bytes();
                let image = Rgb8 { height: 1, width: 1, pixels: bits[..3].to_vec() };
                Some(Value::Image(*sample, Arc::new(image)))
            }
            (Role::MultiCrop, Some(Some(Value::Image(sample, image)))) => {
                let crops = Crops { global: vec![image.as_ref().clone()], local: vec![] };
                Some(Value::Crops(*sample, Arc::new(crops)))
            }
            (Role::Collate, Some(Some(Value::Gathered(batch)))) => {
                let pixels = batch.iter().flat_map(|crops| match crops {
                    Value::Crops(_, crops) => crops.global[0].pixels.clone(),
                    _ => panic!("no crops"),
                });
                tensor(pixels.map(|level| f32::from(level) / 255.0 + 0.1).collect())
            }
            _ => return Err(StageError::Bug("the wrong value arrived".into())),
        };
        Ok(())
    }

    fn center(&mut self, logits: &[f32], outputs: Out) {
        let rows = logits.len() as f32 / 3.0;
        let mean = |c: usize| logits.iter().skip(c).step_by(3).sum::<f32>() / rows;
        self.pending = (0..3).map(|c| 0.9 * self.state[c] + 0.1 * mean(c)).collect();
        outputs.values[0] = tensor(logits.iter().enumerate().map(|(i, x)| x - self.state[i % 3]).collect());
        outputs.metrics.push(("center_norm", f64::from(self.pending.iter().map(|x| x * x).sum::<f32>())));
    }

    fn loss(&mut self, at: &Moment, inputs: In, outputs: Out) {
        let (logits, targets) = (numbers(&inputs.values[0]), numbers(&inputs.values[1]));
        let scale = 1.0 / (logits.len() * at.micros) as f32;
        let apart: Vec<f32> = logits.iter().zip(&targets).map(|(a, b)| a - b).collect();
        let loss = apart.iter().map(|d| d * d * scale).sum::<f32>();
        self.tape = apart.iter().map(|d| 2.0 * d * scale).collect();
        outputs.metrics.push(("loss", f64::from(loss)));
        outputs.values[0] = outputs.wanted[0].then(|| tensor(vec![loss; 3])).flatten();
    }
}

impl Stage<Cpu> for Double {
    fn first(&mut self, outputs: Out) -> Fired {
        outputs.values[0] = Some(Value::Gradients(self.owned.clone()));
        Ok(())
    }

    fn fire(&mut self, at: &Moment, inputs: In, outputs: Out) -> Fired {
        match self.role {
            Role::Teacher | Role::Student => {
                let (pixels, weights) = (numbers(&inputs.values[0]), numbers(&inputs.values[1]));
                outputs.values[0] =
                    tensor(pixels.iter().enumerate().map(|(i, x)| x * weights[i % 3]).collect());
                self.tape = pixels;
            }
            Role::Center => self.center(&numbers(&inputs.values[0]), outputs),
            Role::Loss => self.loss(at, inputs, outputs),
            Role::Optimizer => {
                let gradient = numbers(&inputs.values[0]);
                self.pending = (0..3).map(|c| 0.9 * self.state[c] + gradient[c]).collect();
                let moved = self.pending.clone();
                self.owned()?.iter_mut().zip(moved).for_each(|(weight, moved)| *weight -= 0.1 * moved);
                outputs.values[0] = Some(Value::Gradients(self.owned.clone()));
            }
            Role::Ema => {
                let student = numbers(&inputs.values[0]);
                self.owned()?.iter_mut().zip(student).for_each(|(old, new)| *old = 0.9 * *old + 0.1 * new);
                outputs.values[0] = Some(Value::Gradients(self.owned.clone()));
            }
            Role::Knn => {
                let mut fields = serde_json::Map::new();
                fields.insert("sum".into(), numbers(&inputs.values[0]).iter().sum::<f32>().into());
                outputs.events.push(Event { name: "knn", fields, picture: None });
            }
            _ => self.host(at, inputs, outputs)?,
        }
        Ok(())
    }

    fn backward(&mut self, at: &Moment, inputs: In, outputs: Out) -> Fired {
        if self.role == Role::Loss {
            outputs.values[0] = tensor(std::mem::take(&mut self.tape));
            return Ok(());
        }
        if at.micro == 0 {
            self.state = vec![0.0; 3];
        }
        let gradient = numbers(&inputs.values[0]);
        let products = gradient.iter().zip(&self.tape).map(|(g, x)| g * x);
        products.enumerate().for_each(|(i, product)| self.state[i % 3] += product);
        if at.micro + 1 == at.micros {
            outputs.values[1] = Some(Value::Gradients(three(&self.state)));
        }
        Ok(())
    }

    fn commit(&mut self, _: &Moment) {
        if matches!(self.role, Role::Center | Role::Optimizer) {
            self.state = self.pending.clone();
        }
    }

    fn save(&self) -> Result<State, StageError> {
        let weights = || saved(Cpu::buffer(&self.owned.buffers[0]));
        Ok(match self.role {
            Role::Center => State::from([("center".into(), saved(&self.state))]),
            Role::Optimizer => {
                State::from([("moment".into(), saved(&self.state)), ("weights/head.w".into(), weights())])
            }
            Role::Ema => State::from([("weights/head.w".into(), weights())]),
            Role::Student => State::from([("weights/head.mean".into(), saved(&[1.0, 2.0, 3.0]))]),
            _ => State::new(),
        })
    }

    fn restore(&mut self, mut state: State) -> Fired {
        match self.role {
            Role::Center => self.state = restored(&mut state, "center")?,
            Role::Optimizer => self.state = restored(&mut state, "moment")?,
            Role::Student => drop(restored(&mut state, "weights/head.mean")?),
            _ => {}
        }
        if matches!(self.role, Role::Optimizer | Role::Ema) {
            self.owned = three(&restored(&mut state, "weights/head.w")?);
        }
        match state.keys().next() {
            None => Ok(()),
            Some(key) => Err(StageError::Restore(format!("{key} is not this stage's"))),
        }
    }
}

fn graph(batch: BatchPlan) -> GraphSpec {
    GraphSpec {
        name: "doubles".into(),
        seed: 0,
        device: DeviceChoice::Cpu,
        precision: Precision::F32,
        tf32: false,
        global_batch: batch.global,
        micro_batch: Some(batch.micro),
        duration: Span::Steps(9),
        on_collapse: OnCollapse::Stop,
        network: NetworkSpec::new(
            Backbone::VitMicro(VitSpec { patch: 8, image: 32, stem: Stem::Patch, registers: 0 }),
            HeadSpec::default(),
        ),
        nodes: IndexMap::new(),
    }
}

fn node(
    name: &str,
    stage: StageSpec,
    role: Role,
    rate: Rate,
    place: Place,
    inputs: &[&'static str],
) -> PlanNode {
    PlanNode {
        name: name.into(),
        stage,
        trained: matches!(role, Role::Student | Role::Loss),
        role,
        rate,
        place,
        inputs: inputs.iter().map(|name| Port::new(name, "")).collect(),
        outputs: vec![Port::new("out", "")],
        wired: vec![],
        produces: vec![],
        reads: false,
        cost: Cost::default(),
    }
}

fn nodes(workers: usize) -> Vec<PlanNode> {
    let synthetic = || StageSpec::Synthetic(Default::default());
    let knn = crate::stages::knn::Knn {
        train: Box::new(synthetic()),
        val: Box::new(synthetic()),
        every: Span::Steps(4),
        k: vec![1],
        temperature: 0.07,
        resize: None,
        crop: None,
        batch: 1,
        raw_pixels: false,
    };
    let checkpoint = crate::stages::checkpoint::Checkpoint { every: Span::Steps(3), keep: 2 };
    let one = |name, role, rate, workers, inputs: &[&'static str]| {
        node(name, synthetic(), role, rate, Place::Host { workers: Some(workers) }, inputs)
    };
    let here = |name, role, rate, inputs: &[&'static str]| {
        node(name, synthetic(), role, rate, Place::Island, inputs)
    };
    vec![
        one("source", Role::Source, Rate::Sample, 1, &[]),
        one("decode", Role::Decode, Rate::Sample, workers, &["bytes"]),
        one("multi_crop", Role::MultiCrop, Rate::Sample, workers, &["image"]),
        one("collate", Role::Collate, Rate::Micro, 1, &["crops"]),
        here("teacher", Role::Teacher, Rate::Micro, &["global", "weights"]),
        here("center", Role::Center, Rate::Step, &["logits"]),
        here("student", Role::Student, Rate::Micro, &["global", "weights"]),
        here("loss", Role::Loss, Rate::Micro, &["logits", "targets"]),
        here("optimizer", Role::Optimizer, Rate::Step, &["gradients"]),
        here("ema", Role::Ema, Rate::Step, &["student"]),
        node("knn", StageSpec::Knn(knn), Role::Knn, Rate::Barrier, Place::Island, &["teacher"]),
        node(
            "checkpoint",
            StageSpec::Checkpoint(checkpoint),
            Role::Checkpoint,
            Rate::Barrier,
            Place::Island,
            &[],
        ),
    ]
}

/// The plan of the small DINO.
pub fn plan(batch: BatchPlan, workers: usize) -> Plan {
    let nodes = nodes(workers);
    let id = |name: &str| NodeId(nodes.iter().position(|node| node.name == name).unwrap());
    let end = |name: &str, port| PortRef { node: id(name), port };
    let edge = |from: (&str, usize), to: (&str, usize), kind, conversion, ty: &EdgeType| PlanEdge {
        from: end(from.0, from.1),
        to: end(to.0, to.1),
        kind,
        ty: ty.clone(),
        conversion,
        capacity: 2,
    };
    let (image, weights) = (EdgeType::Image, EdgeType::Weights);
    let rows = EdgeType::Tensor { dims: vec![1, batch.micro, 3], batch: Some((1, Batch::Micro)) };
    use {Conversion::*, EdgeKind::*};
    let edges = vec![
        edge(("source", 0), ("decode", 0), Forward, None, &image),
        edge(("decode", 0), ("multi_crop", 0), Forward, None, &image),
        edge(("multi_crop", 0), ("collate", 0), Forward, None, &image),
        edge(("collate", 0), ("teacher", 0), Forward, None, &rows),
        edge(("collate", 0), ("student", 0), Forward, None, &rows),
        edge(("ema", 0), ("teacher", 1), Feedback, Hold, &weights),
        edge(("teacher", 0), ("center", 0), Forward, Concat { axis: 1 }, &rows),
        edge(("optimizer", 0), ("student", 1), Feedback, Hold, &weights),
        edge(("student", 0), ("loss", 0), Forward, None, &rows),
        edge(("center", 0), ("loss", 1), Forward, Slice { axis: 1 }, &rows),
        edge(("optimizer", 0), ("ema", 0), Forward, None, &weights),
        edge(("ema", 0), ("knn", 0), Forward, None, &weights),
        edge(("loss", 0), ("student", 0), Gradient, None, &rows),
        edge(("student", 1), ("optimizer", 0), Gradient, Sum, &EdgeType::Gradients),
    ];
    let phase = |rate, actors: &[(&str, Direction)]| Phase {
        rate,
        actors: actors
            .iter()
            .map(|(name, direction)| Actor { node: id(name), direction: *direction })
            .collect(),
    };
    use Direction::{Backward, Forward as Ahead};
    let phases = vec![
        phase(Rate::Micro, &[("teacher", Ahead)]),
        phase(Rate::Step, &[("center", Ahead)]),
        phase(Rate::Micro, &[("student", Ahead), ("loss", Ahead), ("loss", Backward), ("student", Backward)]),
        phase(Rate::Step, &[("optimizer", Ahead), ("ema", Ahead)]),
    ];
    let (host, barrier) = ((0..4).map(NodeId).collect(), vec![id("knn"), id("checkpoint")]);
    let (steps_per_epoch, total_steps, cost) = (Some(3), Some(9), StepCost::default());
    Plan {
        graph: graph(batch),
        edges,
        host,
        phases,
        barrier,
        batch,
        steps_per_epoch,
        total_steps,
        cost,
        nodes,
    }
}
