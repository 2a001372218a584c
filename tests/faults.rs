//! What happens to a run whose stages fail, with the recipe's own stages.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dfdx::prelude::Cpu;
use dinoflow::checkpoint::Reuse;
use dinoflow::graph::spec::GraphSpec;
use dinoflow::plan::{NodeId, Plan, build as planning};
use dinoflow::report::progress::Show;
use dinoflow::runtime::build::{Build, Workshop};
use dinoflow::runtime::execute::{Parts, execute};
use dinoflow::runtime::firing::Run;
use dinoflow::runtime::island::Island;
use dinoflow::runtime::sequential::Sequential;
use dinoflow::runtime::stage::{Inputs, Moment, Outputs, Stage, StageError, State, Value};
use dinoflow::runtime::{Interrupt, Options, Outcome, RunError, open};
use dinoflow::stages::registry::Registry;
use dinoflow::tensor::{Crossing, Device};

/// The whole recipe, small: batch norm in the head and all.
const GRAPH: &str = r#"(
    name: "small", global_batch: 4, duration: Steps(6), seed: 3, precision: F32,
    network: (
        backbone: VitMicro((patch: 8, image: 16)),
        head: (hidden: 16, bottleneck: 8, out_dim: 32, batch_norm: true),
        drop_path: 0.2,
    ),
    nodes: {
        "source": (stage: Synthetic((count: 14, size: 20, classes: 8))),
        "decode": (stage: Decode((workers: Some(2))), inputs: {"bytes": "source/bytes"}),
        "multi_crop": (
            stage: MultiCrop((global_size: 16, local_size: 8, local_crops: 2, workers: Some(2))),
            inputs: {"images": "decode/images"},
        ),
        "collate": (stage: Collate(()), inputs: {"crops": "multi_crop/crops"}),
        "teacher": (stage: Teacher(()), inputs: {"global": "collate/global"}, feedback: {"weights": "ema/weights"}),
        "center": (stage: Centering(()), inputs: {"logits": "teacher/logits"}),
        "student": (
            stage: Student(()),
            inputs: {"global": "collate/global", "local": "collate/local"},
            feedback: {"weights": "optimizer/weights"},
        ),
        "loss": (stage: CrossEntropy(()), inputs: {"logits": "student/logits", "targets": "center/targets"}),
        "optimizer": (stage: AdamW((lr: 0.1, lr_course: Constant))),
        "ema": (stage: Momentum((momentum: Constant(0.9))), inputs: {"student": "optimizer/weights"}),
        "knn": (
            stage: Knn((
                train: Synthetic((count: 16, size: 20, classes: 8)), val: Synthetic((count: 8, size: 20, classes: 8, seed: 1)),
                every: Steps(3), k: [1, 5],
            )),
            inputs: {"student": "optimizer/weights", "teacher": "ema/weights"},
        ),
        "checkpoint": (stage: Checkpoint((every: Steps(2)))),
    },
)"#;

fn plan() -> Plan {
    let graph: GraphSpec = ron::from_str(GRAPH).unwrap();
    planning::build(&graph, &Registry::default()).unwrap()
}

/// What a test does to a stage's outputs after it has worked: node, half, when, outputs.
type Tamper = Arc<dyn Fn(&str, &str, &Moment, &mut [Option<Value<Cpu>>]) + Send + Sync>;

struct Tampered {
    name: String,
    inner: Box<dyn Stage<Cpu>>,
    tamper: Tamper,
}

impl Stage<Cpu> for Tampered {
    fn first(&mut self, outputs: &mut Outputs<'_, Cpu>) -> Result<(), StageError> {
        self.inner.first(outputs)
    }

    fn fire(
        &mut self,
        at: &Moment,
        i: &mut Inputs<'_, Cpu>,
        o: &mut Outputs<'_, Cpu>,
    ) -> Result<(), StageError> {
        self.inner.fire(at, i, o)?;
        (self.tamper)(&self.name, "fire", at, o.values);
        Ok(())
    }

    fn backward(
        &mut self,
        at: &Moment,
        i: &mut Inputs<'_, Cpu>,
        o: &mut Outputs<'_, Cpu>,
    ) -> Result<(), StageError> {
        self.inner.backward(at, i, o)?;
        (self.tamper)(&self.name, "backward", at, o.values);
        Ok(())
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

/// Builds the recipe's stages under a tampering hand.
fn tampered<'a>(workshop: &'a Workshop<'a, Cpu>, tamper: &'a Tamper) -> impl Build<Cpu> + 'a {
    move |node: NodeId| -> Result<Box<dyn Stage<Cpu>>, StageError> {
        let name = workshop.plan.nodes[node.0].name.clone();
        Ok(Box::new(Tampered { name, inner: workshop.build(node)?, tamper: tamper.clone() }))
    }
}

fn poison(value: &mut Option<Value<Cpu>>) {
    match value.as_mut().unwrap() {
        Value::Tensor(tensor) => tensor.view_mut()[0] = f32::NAN,
        Value::Gradients(gradients) => {
            let buffers = &mut Arc::get_mut(gradients).unwrap().buffers;
            Cpu::buffer_mut(&mut buffers[3])[0] = f32::NAN;
        }
        other => panic!("{} can't hold a NaN", other.kind()),
    }
}

#[test]
fn a_nan_anywhere_leaves_every_state_as_before_the_step() {
    let plan = plan();
    let (pictures, horizon) = open(&plan).unwrap();
    let device = Cpu::default();
    let registry = Registry::default();
    let workshop = Workshop {
        plan: &plan,
        device: Crossing::of(&device),
        pictures: Some(&pictures),
        registry: &registry,
        statistics: Default::default(),
    };
    let places = [
        ("collate", "fire", 0),
        ("collate", "fire", 1),
        ("teacher", "fire", 0),
        ("center", "fire", 0),
        ("student", "fire", 0),
        ("loss", "backward", 0),
        ("student", "backward", 2),
    ];
    for (node, half, port) in places {
        let tamper: Tamper = Arc::new(move |at_node, at_half, at, outputs| {
            if (at_node, at_half, at.step) == (node, half, 2) {
                poison(&mut outputs[port]);
            }
        });
        let build = tampered(&workshop, &tamper);
        let run = Run::new(&plan, horizon, 0..6, false);
        let mut island = Island::new(&run, &device, &build, run.trace.track("island")).unwrap();
        let mut feed = Sequential::new(&run, &build).unwrap();
        island.first().unwrap();
        for step in 0..2 {
            island.step(step, &mut feed).unwrap();
        }
        let before = island.save(2).unwrap();
        assert!(before.files["state"].len() > 10 && before.files["student"].len() > 10);
        assert!(island.step(2, &mut feed).is_err(), "{node} {half}");
        let failure = run.fault.take().unwrap();
        assert_eq!((failure.status(), failure.step), (3, 2), "{node} {half}: {failure}");
        assert!(island.save(2).unwrap() == before, "a NaN from {node} {half} changed a state");
    }
}

fn go(plan: &Plan, tamper: &Tamper, options: &Options) -> Result<Outcome, RunError> {
    let (pictures, horizon) = open(plan).unwrap();
    let device = Cpu::default();
    let registry = Registry::default();
    let workshop = Workshop {
        plan,
        device: Crossing::of(&device),
        pictures: Some(&pictures),
        registry: &registry,
        statistics: Default::default(),
    };
    let build = tampered(&workshop, tamper);
    let rejections = &pictures.rejections;
    let parts =
        Parts { plan, graph: "()", horizon, device: Crossing::of(&device), build: &build, rejections };
    execute(&parts, options, &Interrupt::default())
}

fn options(out: &Path) -> Options {
    Options { out: out.to_owned(), show: Show::Nothing, ..Options::default() }
}

#[test]
fn a_panic_in_any_stage_ends_the_run_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan();
    for node in plan.nodes.iter().map(|node| node.name.clone()).filter(|name| name != "checkpoint") {
        let name = node.clone();
        let tamper: Tamper =
            Arc::new(move |at, _, when, _| assert!(at != name || when.step != 3, "as the test wants"));
        let out = folder.path().join(&node);
        let start = Instant::now();
        let error = go(&plan, &tamper, &options(&out)).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(5), "{node}");
        assert!(error.to_string().starts_with(&format!("{node}, step 3: panicked at")), "{error}");
        assert_eq!(error.status(), 1);
    }
}

#[test]
fn a_collapsed_run_goes_on_from_its_checkpoint_once_the_cause_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
    let nothing: Tamper = Arc::new(|_, _, _, _| {});
    go(&plan, &nothing, &options(&whole)).unwrap();
    let tamper: Tamper = Arc::new(|node, _, at, outputs| {
        if (node, at.step) == ("collate", 3) {
            poison(&mut outputs[0]);
        }
    });
    let error = go(&plan, &tamper, &options(&out)).unwrap_err();
    assert_eq!((error.status(), error.to_string().contains("not finite")), (3, true), "{error}");
    go(&plan, &nothing, &Options { reuse: Reuse::Resume, ..options(&out) }).unwrap();
    let state = |out: &Path| std::fs::read(out.join("checkpoints/step-00000006/state.safetensors")).unwrap();
    assert!(state(&whole) == state(&out));
}
