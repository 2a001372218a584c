//! Twelve steps of training, by the same stages as a run: crops are given in place of pictures, nothing else is different.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use dfdx::prelude::Cpu;
use dinoflow::checkpoint::Reuse;
use dinoflow::graph::spec::{DeviceChoice, GraphSpec, HeadSpec, Init, NodeSpec, OnCollapse, Precision};
use dinoflow::kernels::Products;
use dinoflow::optim::schedule::{Every, Horizon, LrCourse, Schedule, Span};
use dinoflow::plan::{NodeId, Plan};
use dinoflow::runtime::build::{Build, Workshop};
use dinoflow::runtime::execute::{Parts, execute};
use dinoflow::runtime::options::Options;
use dinoflow::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, State, Value};
use dinoflow::stages::optimizer::{AdamW, Clip, Lars, LrScaling, Sgd};
use dinoflow::stages::registry::{Registered, Registry};
use dinoflow::stages::*;
use dinoflow::tensor::{Batched, Crossing, Device};
use ron::value::RawValue;
use safetensors::SafeTensors;
use serde_json::Value as Json;

use crate::backbones;
use crate::fixture::{self, close, count, json, number, numbers};

/// Crops that are given: every micro-batch is a part of the step's formula.
#[derive(Clone)]
struct GivenCrops {
    name: String,
    batch: usize,
    global: usize,
    local: usize,
    local_crops: usize,
}

impl GivenCrops {
    fn of(case: &Json) -> Self {
        GivenCrops {
            name: format!("{}/{}", case["seed"].as_str().unwrap(), case["case"].as_str().unwrap()),
            batch: count(&case["batch"]),
            global: count(&case["image"]),
            local: count(&case["local_image"]),
            local_crops: count(&case["local_crops"]),
        }
    }

    /// Views `views` of a micro-batch, (views, b, 3, side, side).
    fn crops<D: Device>(
        &self,
        device: &D,
        at: &Moment,
        views: std::ops::Range<usize>,
        side: usize,
    ) -> Value<D> {
        let b = self.batch / at.micros;
        let pixels = 3 * side * side;
        let mut values = Vec::new();
        for view in views.clone() {
            let all =
                fixture::input(&format!("{}/step{}/crop{view}", self.name, at.step), self.batch * pixels);
            values.extend_from_slice(&all[at.micro * b * pixels..(at.micro + 1) * b * pixels]);
        }
        let dims = vec![views.len(), b, 3, side, side];
        Value::Tensor(Batched::from_host(device, values, dims, Some(1)).unwrap())
    }
}

/// The same on a device.
struct Giving<D> {
    crops: GivenCrops,
    device: D,
}

impl<D: Device> Stage<D> for Giving<D> {
    fn fire(
        &mut self,
        at: &Moment,
        _: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        let (crops, device) = (&self.crops, &self.device);
        outputs.values[0] = Some(crops.crops(device, at, 0..2, crops.global));
        outputs.values[1] = Some(crops.crops(device, at, 2..2 + crops.local_crops, crops.local));
        Ok(())
    }
}

impl Declare for GivenCrops {
    fn role(&self) -> Role {
        Role::Other("crops".into())
    }
    fn rate(&self) -> Rate {
        Rate::Micro
    }
    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![],
            outputs: vec![Port::new("global", "global crops"), Port::new("local", "local crops")],
        }
    }
    fn problems(&self, _: &Scope) -> Vec<Problem> {
        vec![]
    }
    fn infer(&self, scope: &Scope, _: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        let crops = |views: usize, side: usize| EdgeType::Tensor {
            dims: vec![views, scope.micro_batch, 3, side, side],
            batch: Some((1, Batch::Micro)),
        };
        Ok(vec![crops(2, self.global), crops(self.local_crops, self.local)])
    }
    fn cost(&self, _: &Scope, _: &Given) -> Cost {
        Cost::default()
    }
}

fn crops_of(with: &RawValue) -> Result<GivenCrops, String> {
    let text: String = with.into_rust().map_err(|e| e.to_string())?;
    let case: Json = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    Ok(GivenCrops::of(&case))
}

fn registry() -> Registry {
    let registry = Registry::default().stage(
        "given_crops",
        |with| Ok(Box::new(crops_of(with)?)),
        |with, _, device| Ok(Box::new(Giving { crops: crops_of(with)?, device: device.clone() })),
    );
    #[cfg(feature = "cuda")]
    let registry = registry.on_cuda("given_crops", |with, _, device| {
        Ok(Box::new(Giving { crops: crops_of(with)?, device: device.clone() }))
    });
    registry
}

/// What reached the optimizer first, by name.
type FirstGradients = Arc<Mutex<BTreeMap<String, Vec<f32>>>>;

/// The optimizer, with an eye on what it is given.
struct Watched<D: Device> {
    inner: Box<dyn Stage<D>>,
    names: Vec<String>,
    seen: FirstGradients,
    device: D,
}

impl<D: Device> Stage<D> for Watched<D> {
    fn first(&mut self, outputs: &mut Outputs<'_, D>) -> Result<(), StageError> {
        self.inner.first(outputs)
    }
    fn fire(
        &mut self,
        at: &Moment,
        inputs: &mut Inputs<'_, D>,
        outputs: &mut Outputs<'_, D>,
    ) -> Result<(), StageError> {
        if let (0, Some(Some(Value::Gradients(gradients)))) = (at.step, inputs.values.first()) {
            let buffers = gradients.buffers.iter().map(|b| self.device.read(D::buffer(b)).unwrap());
            *self.seen.lock().unwrap() = self.names.iter().cloned().zip(buffers).collect();
        }
        self.inner.fire(at, inputs, outputs)
    }
    fn commit(&mut self, at: &Moment) {
        self.inner.commit(at);
    }
    fn save(&self) -> Result<State, StageError> {
        self.inner.save()
    }
    fn restore(&mut self, state: State) -> Result<(), StageError> {
        self.inner.restore(state)
    }
}

/// The graph of a fixture.
fn graph(case: &Json, weights: &Path, micro_batch: Option<usize>, precision: Precision) -> GraphSpec {
    let head = HeadSpec {
        hidden: count(&case["head_hidden"]),
        bottleneck: count(&case["head_bottleneck"]),
        out_dim: count(&case["out_dim"]),
        batch_norm: case["head_bn"].as_bool().unwrap(),
        norm_last_layer: case["norm_last_layer"].as_bool().unwrap(),
        ..HeadSpec::default()
    };
    let mut network = backbones::network(
        case["arch"].as_str().unwrap(),
        count(&case["patch"]),
        count(&case["image"]),
        head,
    );
    network.init = Init::Weights(weights.to_path_buf());
    let spec = serde_json::json!({
        "seed": case["seed"], "case": case["case"], "batch": case["batch"], "image": case["image"],
        "local_image": case["local_image"], "local_crops": case["local_crops"],
    });
    let with = RawValue::from_boxed_ron(format!("{:?}", spec.to_string()).into()).unwrap();
    let node = |stage: StageSpec, inputs: &[(&str, &str)], feedback: &[(&str, &str)]| NodeSpec {
        stage,
        inputs: inputs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
        feedback: feedback.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
    };
    let crops = StageSpec::Custom(Custom { kind: "given_crops".into(), with });
    let nodes = [
        ("crops", node(crops, &[], &[])),
        (
            "student",
            node(
                StageSpec::Student(Default::default()),
                &[("global", "crops/global"), ("local", "crops/local")],
                &[("weights", "optimizer/weights")],
            ),
        ),
        (
            "teacher",
            node(
                StageSpec::Teacher(Default::default()),
                &[("global", "crops/global")],
                &[("weights", "ema/weights")],
            ),
        ),
        ("center", node(center(case), &[("logits", "teacher/logits")], &[])),
        (
            "loss",
            node(
                StageSpec::CrossEntropy(loss::CrossEntropy {
                    temperature: number(&case["student_temp"]),
                    koleo: number(&case["koleo_weight"]),
                }),
                &[("logits", "student/logits"), ("targets", "center/targets"), ("cls", "student/cls")],
                &[],
            ),
        ),
        ("optimizer", node(optimizer(case), &[], &[])),
        (
            "ema",
            node(
                StageSpec::Momentum(ema::Momentum {
                    momentum: Schedule::Cosine { from: number(&case["momentum"]), to: 1.0 },
                }),
                &[("student", "optimizer/weights")],
                &[],
            ),
        ),
    ];
    GraphSpec {
        name: "trajectory".into(),
        seed: 0,
        device: DeviceChoice::Cpu,
        precision,
        tf32: false,
        global_batch: count(&case["batch"]),
        micro_batch,
        duration: Span::Epochs(number(&case["epochs"])),
        on_collapse: OnCollapse::Stop,
        network,
        nodes: nodes.into_iter().map(|(name, node)| (name.to_string(), node)).collect(),
    }
}

fn center(case: &Json) -> StageSpec {
    let [from, to, epochs] = numbers(&case["teacher_temp"])[..] else {
        panic!("teacher_temp has three entries")
    };
    let momentum = number(&case["center_momentum"]);
    let temperature = Schedule::Linear { from, to, over: Span::Epochs(epochs), every: Every::Epoch };
    match case["target"].as_str() {
        Some("center") => StageSpec::Centering(center::Centering { momentum, temperature }),
        Some("sinkhorn") => {
            StageSpec::SinkhornKnopp(center::SinkhornKnopp { iterations: 3, temperature, momentum })
        }
        other => panic!("targets by {other:?}"),
    }
}

fn optimizer(case: &Json) -> StageSpec {
    let decay = numbers(&case["weight_decay"]);
    let (lr, lr_scaling) = (number(&case["lr"]), LrScaling::None);
    let warmup = Span::Epochs(number(&case["warmup_epochs"]));
    let lr_course = LrCourse::Cosine { warmup, end: number(&case["min_lr"]) };
    let weight_decay = Schedule::Cosine { from: decay[0], to: decay[1] };
    let clip = case["clip_grad"].as_f64().map_or(Clip::None, Clip::PerParameter);
    let freeze_last_layer = Span::Epochs(number(&case["freeze_last_layer"]));
    match case["optimizer"].as_str() {
        Some("adamw") => StageSpec::AdamW(AdamW {
            lr,
            lr_scaling,
            lr_course,
            weight_decay,
            clip,
            freeze_last_layer,
            ..AdamW::default()
        }),
        Some("sgd") => StageSpec::Sgd(Sgd {
            lr,
            lr_scaling,
            lr_course,
            weight_decay,
            clip,
            freeze_last_layer,
            ..Sgd::default()
        }),
        Some("lars") => StageSpec::Lars(Lars {
            lr,
            lr_scaling,
            lr_course,
            weight_decay,
            clip,
            freeze_last_layer,
            ..Lars::default()
        }),
        other => panic!("no optimizer {other:?}"),
    }
}

/// Writes the formula's weights for a network to a file.
fn write_weights(case: &Json, path: &Path) {
    let mut spec = graph(case, path, None, Precision::F32).network;
    spec.init = Init::Seed;
    let network = dinoflow::nn::architectures::build(&Cpu::default(), &spec, Products::F32, 0).unwrap();
    let tensors: Vec<_> = network
        .parameters()
        .iter()
        .map(|p| {
            let bytes: Vec<u8> =
                fixture::weight(&p.name, &p.dims).iter().flat_map(|x| x.to_le_bytes()).collect();
            (p.name.clone(), p.dims.clone(), bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, dims, bytes)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, dims.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A run's folder and what its optimizer saw first.
fn run<D: Registered>(
    device: &D,
    case: &Json,
    micro_batch: Option<usize>,
    precision: Precision,
) -> (tempfile::TempDir, FirstGradients) {
    let folder = tempfile::tempdir().unwrap();
    let seen = train(device, case, folder.path(), (micro_batch, precision), None);
    (folder, seen)
}

/// Trains in a folder up to so many steps, or to the end, going on from where it stopped before.
fn train<D: Registered>(
    device: &D,
    case: &Json,
    folder: &Path,
    (micro_batch, precision): (Option<usize>, Precision),
    steps: Option<u64>,
) -> FirstGradients {
    let weights = folder.join("weights.safetensors");
    write_weights(case, &weights);
    let on = if device.word() == "cpu" { DeviceChoice::Cpu } else { DeviceChoice::Cuda(0) };
    let graph = GraphSpec { device: on, ..graph(case, &weights, micro_batch, precision) };
    let registry = registry();
    let plan = plan(&graph, &registry);
    let seen = FirstGradients::default();
    let workshop = Workshop {
        plan: &plan,
        device: Crossing::of(device),
        pictures: None,
        registry: &registry,
        statistics: Default::default(),
    };
    let build = |node: NodeId| -> Result<Box<dyn Stage<D>>, StageError> {
        let inner = workshop.build(node)?;
        if plan.nodes[node.0].role != Role::Optimizer {
            return Ok(inner);
        }
        let first =
            dinoflow::nn::weights::first(workshop.device as &D, &plan.graph.network, plan.products(), 0)?;
        let names = first.parameters().iter().map(|p| p.name.clone()).collect();
        Ok(Box::new(Watched { inner, names, seen: seen.clone(), device: (**workshop.device).clone() }))
    };
    let steps_per_epoch = count(&case["iters_per_epoch"]) as u64;
    let total_steps = count(&case["epochs"]) as u64 * steps_per_epoch;
    let parts = Parts {
        plan: &plan,
        graph: "",
        horizon: Horizon { steps_per_epoch, total_steps },
        device: workshop.device,
        build: &build,
        rejections: &Default::default(),
    };
    let (out, reuse) = (folder.join("run"), Reuse::Resume);
    let options = Options { out, reuse, steps, sequential: true, ..Options::default() };
    let outcome = execute(&parts, &options, &Default::default()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((outcome.status, outcome.step), (0, steps.unwrap_or(total_steps)));
    seen
}

fn plan(graph: &GraphSpec, registry: &Registry) -> Plan {
    dinoflow::plan::build::build(graph, registry).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

/// How far a run's sums may be from the reference's: the loss, the targets' entropy and the centre, the largest gradient norm. Of that
/// norm, the maximum of many, single steps may be far off where all before them were rounded: `gradients` bounds the root mean square
/// over the run.
#[derive(Clone, Copy)]
struct Near {
    loss: f64,
    targets: f64,
    gradient: f64,
    gradients: f64,
}

/// The steps of a run's record.
fn steps(run: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.into_iter().filter(|line| line["event"] == "step").collect()
}

fn check_steps(name: &str, case: &Json, run: &Path, near: Near) {
    let steps = steps(run);
    let expected = case["steps"].as_array().unwrap();
    assert_eq!(steps.len(), expected.len(), "{name}: steps");
    let keys = [
        ("lr", "lr", 1e-9),
        ("weight_decay", "wd", 1e-9),
        ("teacher_momentum", "momentum", 1e-9),
        ("teacher_temperature", "teacher_temp", 1e-9),
        ("loss", "loss", near.loss),
        ("teacher_entropy", "teacher_entropy", near.targets),
        ("center_norm", "center_l2", near.targets),
        ("grad_norm_max", "grad_norm_max", near.gradient),
    ];
    let mut squares = 0.0;
    for (found, expected) in steps.iter().zip(expected) {
        let norm = |line: &Json| number(&line["grad_norm_max"]);
        squares += (norm(found) / norm(expected) - 1.0).powi(2);
        for (ours, theirs, tolerance) in keys {
            let what = format!("{name}, step {}: {ours}", expected["step"]);
            close(&what, number(&found[ours]), number(&expected[theirs]), tolerance, 1e-12);
        }
        if number(&case["koleo_weight"]) > 0.0 {
            // a sum of logarithms that may come to nearly nothing: held against their size
            let what = format!("{name}, step {}: koleo", expected["step"]);
            close(&what, number(&found["koleo"]), number(&expected["koleo"]), near.loss, near.loss);
        }
    }
    let off = (squares / steps.len() as f64).sqrt();
    assert!(off < near.gradients, "{name}: largest gradient norms are {off:e} off over the run");
}

/// Gradients that are zero in exact arithmetic.
fn vanishes(key: &str, batch_norm: bool) -> bool {
    batch_norm && ["backbone.norm.bias", "head.mlp.0.bias", "head.mlp.3.bias"].contains(&key)
}

fn l2(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

fn check_first_gradients(name: &str, case: &Json, seen: &BTreeMap<String, Vec<f32>>) {
    let batch_norm = case["head_bn"].as_bool().unwrap();
    let expected = case["first_step_gradients"].as_object().unwrap();
    for (key, summary) in expected {
        let what = format!("{name}: first gradient of {key}");
        let found = seen.get(key).unwrap_or_else(|| panic!("{what} is missing"));
        assert_eq!(found.len(), count(&summary["n"]), "{what}: count");
        if vanishes(key, batch_norm) {
            assert!(l2(found) < 1e-6, "{what}: {:e} is not zero", l2(found));
            continue;
        }
        close(&what, l2(found), number(&summary["l2"]), 1e-4, 0.0);
        if key.ends_with("qkv.bias") {
            let keys = &found[found.len() / 3..2 * found.len() / 3];
            assert!(keys.iter().all(|k| k.abs() < 1e-6), "{what}: the keys' third is not zero");
        }
    }
}

/// The tensors of a file as f32, of one step's checkpoint.
fn tensors(run: &Path, step: u64, file: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let path = run.join(format!("checkpoints/step-{step:08}/{file}.safetensors"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |view: &safetensors::tensor::TensorView<'_>| match view.dtype() {
        safetensors::Dtype::F32 => {
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        }
        safetensors::Dtype::I64 => {
            view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32).collect()
        }
        _ => Vec::new(),
    };
    file.iter().map(|(name, view)| (name.to_string(), (view.shape().to_vec(), numbers(&view)))).collect()
}

fn check_final(name: &str, case: &Json, run: &Path, near: f64) {
    let last = case["steps"].as_array().unwrap().len() as u64;
    let lr = number(&case["lr"]);
    for network in ["student", "teacher"] {
        let found = tensors(run, last, network);
        let expected = case["final"][network].as_object().unwrap();
        for (key, summary) in expected {
            let what = format!("{name}: final {network} {key}");
            let (dims, values) = found.get(key).unwrap_or_else(|| panic!("{what} is missing"));
            assert_eq!(values.len(), count(&summary["n"]), "{what}: count");
            let (tolerance, floor) = if dims.len() > 1 { (near, 0.0) } else { (2e-3, 2.0 * lr) };
            close(&what, l2(values), number(&summary["l2"]), tolerance, floor);
        }
        let unknown: Vec<_> = found.keys().filter(|key| !expected.contains_key(*key)).collect();
        assert!(unknown.is_empty(), "{name}: the {network}'s file holds {unknown:?}");
    }
    let center = &tensors(run, last, "state")["center/center"].1;
    fixture::summary(&format!("{name}: centre"), center, &case["final"]["center"], near);
}

fn check(fixture: &str, micro_batch: Option<usize>) {
    let case = json(fixture);
    let name = format!("{fixture} at micro_batch {micro_batch:?}");
    let (folder, seen) = run(&Cpu::default(), &case, micro_batch, Precision::F32);
    let run = folder.path().join("run");
    check_steps(&name, &case, &run, Near { loss: 1e-5, targets: 1e-5, gradient: 1e-4, gradients: 1e-4 });
    check_first_gradients(&name, &case, &seen.lock().unwrap());
    check_final(&name, &case, &run, 1e-5);
}

/// A run that goes on on another device, from its fifth step on.
#[cfg(feature = "cuda")]
pub fn check_moved<A: Registered, B: Registered>(
    (from, to): (&A, &B),
    near: f64,
    fixture: &str,
    micro_batch: Option<usize>,
) {
    let case = json(fixture);
    let name = format!("{fixture} at micro_batch {micro_batch:?} from {} to {}", from.word(), to.word());
    let folder = tempfile::tempdir().unwrap();
    train(from, &case, folder.path(), (micro_batch, Precision::F32), Some(5));
    train(to, &case, folder.path(), (micro_batch, Precision::F32), None);
    let run = folder.path().join("run");
    check_steps(&name, &case, &run, Near { loss: near, targets: near, gradient: near, gradients: near });
    check_final(&name, &case, &run, near);
}

/// The same on another device than the one that the bounds above were found on.
#[cfg(feature = "cuda")]
pub fn check_on<D: Registered>(device: &D, near: f64, fixture: &str, micro_batch: Option<usize>) {
    let case = json(fixture);
    let name = format!("{fixture} at micro_batch {micro_batch:?} on {}", device.word());
    let (folder, seen) = run(device, &case, micro_batch, Precision::F32);
    let run = folder.path().join("run");
    check_steps(&name, &case, &run, Near { loss: near, targets: near, gradient: near, gradients: near });
    check_first_gradients(&name, &case, &seen.lock().unwrap());
    check_final(&name, &case, &run, near);
}

/// Mixed precision: losses within `loss` of the reference's, single steps' largest gradient norms within `gradient`, first gradients of two
/// axes and more within 2e-2 by length.
pub fn check_mixed<D: Registered>(
    device: &D,
    precision: Precision,
    (loss, gradient): (f64, f64),
    fixture: &str,
    micro_batch: Option<usize>,
) {
    let case = json(fixture);
    let name = format!("{fixture} in {precision:?} at micro_batch {micro_batch:?} on {}", device.word());
    let (folder, seen) = run(device, &case, micro_batch, precision);
    let run = folder.path().join("run");
    // targets see the teacher's rounding through a temperature that is less than half the student's; the first step's norms
    // are held closer below
    let near = Near { loss, targets: 2e-2, gradient, gradients: 2.5e-2 };
    check_steps(&name, &case, &run, near);
    let last = case["steps"].as_array().unwrap().len() as u64;
    let student = tensors(&run, last, "student");
    let seen = seen.lock().unwrap();
    for (key, summary) in case["first_step_gradients"].as_object().unwrap() {
        if student[key].0.len() > 1 {
            let what = format!("{name}: first gradient of {key}");
            close(&what, l2(&seen[key]), number(&summary["l2"]), 2e-2, 0.0);
        }
    }
}

pub fn check_all_mixed<D: Registered>(device: &D, precision: Precision, gradient: f64) {
    let check = |loss: f64, fixture: &str, micro_batch| {
        check_mixed(device, precision, (loss, gradient), fixture, micro_batch);
    };
    check(5e-3, "trajectory_adamw.json", None);
    check(5e-3, "trajectory_adamw.json", Some(2));
    check(5e-3, "trajectory_no_clip_no_local.json", None);
    check(5e-3, "trajectory_free_last_layer.json", None);
    check(5e-3, "trajectory_head_bn.json", None);
    // Sinkhorn-Knopp passes a prototype's rounding on to all pictures of the batch
    check(1e-2, "trajectory_sinkhorn.json", None);
    check(1e-2, "trajectory_sinkhorn.json", Some(2));
}

#[test]
fn mixed_precision_stays_near_the_reference() {
    check_all_mixed(&Cpu::default(), Precision::Bf16, 5e-2);
}

/// What every instruction set is held to, whichever way it rounds: single steps' largest norms have a little more room.
#[test]
fn mixed_precision_stays_near_over_a_run() {
    check_all_mixed(&Cpu::default(), Precision::Bf16, 8e-2);
}

#[test]
fn adamw() {
    for micro_batch in [None, Some(1), Some(2)] {
        check("trajectory_adamw.json", micro_batch);
    }
}

#[test]
fn sgd() {
    for micro_batch in [None, Some(1), Some(2)] {
        check("trajectory_sgd.json", micro_batch);
    }
}

#[test]
fn lars() {
    for micro_batch in [None, Some(1), Some(2)] {
        check("trajectory_lars.json", micro_batch);
    }
}

#[test]
fn no_clip_no_local() {
    for micro_batch in [None, Some(1), Some(2)] {
        check("trajectory_no_clip_no_local.json", micro_batch);
    }
}

#[test]
fn free_last_layer() {
    for micro_batch in [None, Some(1), Some(2)] {
        check("trajectory_free_last_layer.json", micro_batch);
    }
}

#[test]
fn head_bn() {
    check("trajectory_head_bn.json", None);
}

#[test]
fn sinkhorn() {
    for micro_batch in [None, Some(1), Some(2)] {
        check("trajectory_sinkhorn.json", micro_batch);
    }
}

#[test]
fn koleo() {
    check("trajectory_koleo.json", None);
}
