//! The runtime with the recipe's own stages, small: what made-up ones can't show.

use std::path::Path;

use dfdx::prelude::Cpu;

use super::{Interrupt, Options, Outcome, RunError, run};
use crate::checkpoint::Reuse;
use crate::graph::spec::{Backbone, GraphSpec, ResNetSpec, ResNetStem};
use crate::plan::{Plan, build};
use crate::report::progress::Show;
use crate::stages::registry::Registry;

/// Real stages around a picture source; `with` stands for parameters that tests change.
fn graph(source: &str, batch_norm: bool, micro: usize, workers: usize) -> GraphSpec {
    let text = format!(
        r#"(
        name: "small", global_batch: 4, micro_batch: Some({micro}), duration: Epochs(2), seed: 3, precision: F32,
        network: (
            backbone: VitMicro((patch: 8, image: 16)),
            head: (hidden: 16, bottleneck: 8, out_dim: 32, batch_norm: {batch_norm}),
            drop_path: 0.2,
        ),
        nodes: {{
            "source": (stage: {source}),
            "decode": (stage: Decode((workers: Some({workers}))), inputs: {{"bytes": "source/bytes"}}),
            "multi_crop": (
                stage: MultiCrop((global_size: 16, local_size: 8, local_crops: 2, workers: Some({workers}))),
                inputs: {{"images": "decode/images"}},
            ),
            "collate": (stage: Collate(()), inputs: {{"crops": "multi_crop/crops"}}),
            "teacher": (stage: Teacher(()), inputs: {{"global": "collate/global"}}, feedback: {{"weights": "ema/weights"}}),
            "center": (stage: Centering(()), inputs: {{"logits": "teacher/logits"}}),
            "student": (
                stage: Student(()),
                inputs: {{"global": "collate/global", "local": "collate/local"}},
                feedback: {{"weights": "optimizer/weights"}},
            ),
            "loss": (stage: CrossEntropy(()), inputs: {{"logits": "student/logits", "targets": "center/targets"}}),
            "optimizer": (stage: AdamW((lr: 0.1, lr_course: Constant))),
            "ema": (stage: Momentum((momentum: Constant(0.9))), inputs: {{"student": "optimizer/weights"}}),
            "checkpoint": (stage: Checkpoint((every: Steps(2)))),
        }},
    )"#
    );
    ron::from_str(&text).unwrap()
}

const DRAWN: &str = "Synthetic((count: 14, size: 20, classes: 8))";

fn plan(graph: &GraphSpec) -> Plan {
    build::build(graph, &Registry::default()).unwrap()
}

fn go(graph: &GraphSpec, options: &Options) -> Result<Outcome, RunError> {
    run(
        &plan(graph),
        &crate::stages::Registry::default(),
        "()",
        &Cpu::default(),
        options,
        &Interrupt::default(),
    )
}

fn options(out: &Path) -> Options {
    Options { out: out.to_owned(), show: Show::Nothing, ..Options::default() }
}

fn lines(out: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .map(|mut line| {
            line.as_object_mut().unwrap().remove("images_per_second");
            line
        })
        .collect()
}

fn last_state(out: &Path) -> Vec<Vec<u8>> {
    let names = ["student", "teacher", "state"];
    let path = |name| out.join(format!("checkpoints/step-00000006/{name}.safetensors"));
    names.map(|name| std::fs::read(path(name)).unwrap()).to_vec()
}

#[test]
fn the_recipe_trains_and_resumes_to_the_same_bits() {
    for (batch_norm, micro) in [(false, 2), (true, 4)] {
        let folder = tempfile::tempdir().unwrap();
        let out = |name: &str| folder.path().join(name);
        let graph = |workers| graph(DRAWN, batch_norm, micro, workers);
        let outcome = go(&graph(2), &options(&out("whole"))).unwrap();
        assert_eq!((outcome.status, outcome.step), (0, 6));
        let whole = lines(&out("whole"));
        assert!(
            whole.iter().all(|l| l["loss"].is_f64() && l["grad_norm"].is_f64() && l["center_norm"].is_f64())
        );
        assert!(whole[0]["loss"] != whole[5]["loss"]);
        go(&graph(1), &Options { steps: Some(3), sequential: true, ..options(&out("parts")) }).unwrap();
        go(&graph(8), &Options { reuse: Reuse::Resume, threads: Some(3), ..options(&out("parts")) }).unwrap();
        assert_eq!(lines(&out("parts")), whole);
        assert!(last_state(&out("parts")) == last_state(&out("whole")));
        // what runs in one pass over memory gives the bits of what runs in two
        go(&graph(2), &Options { no_fuse: true, ..options(&out("apart")) }).unwrap();
        assert_eq!(lines(&out("apart")), whole);
        assert!(last_state(&out("apart")) == last_state(&out("whole")));
    }
}

#[test]
fn a_residual_network_is_evaluated_alike_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let mut graph = graph(DRAWN, false, 4, 2);
    graph.network.backbone = Backbone::ResNet18(ResNetSpec { stem: ResNetStem::Small });
    graph.network.drop_path = 0.0;
    let knn = r#"(
        stage: Knn((train: Synthetic((count: 12, size: 20, classes: 8)), val: Synthetic((count: 12, size: 20, classes: 8)),
            every: Steps(2), k: [3], crop: Some(16))),
        inputs: {"student": "optimizer/weights", "teacher": "ema/weights"},
    )"#;
    graph.nodes.insert("knn".into(), ron::from_str(knn).unwrap());
    go(&graph, &options(&out("whole"))).unwrap();
    let whole = lines(&out("whole"));
    go(&graph, &Options { steps: Some(4), sequential: true, ..options(&out("parts")) }).unwrap();
    go(&graph, &Options { reuse: Reuse::Resume, threads: Some(3), ..options(&out("parts")) }).unwrap();
    assert_eq!(lines(&out("parts")), whole);
    assert!(last_state(&out("parts")) == last_state(&out("whole")));
    for network in &last_state(&out("whole"))[..2] {
        let file = safetensors::SafeTensors::deserialize(network).unwrap();
        let bytes = file.tensor("backbone.layer4.1.bn2.num_batches_tracked").unwrap().data().to_vec();
        let batches = u64::from_le_bytes(bytes.try_into().unwrap());
        // six steps: one batch a resolution
        assert!(batches == 12 || batches == 6, "{batches}");
        assert_eq!(file.tensor("backbone.conv1.weight").unwrap().shape(), [64, 3, 3, 3]);
    }
}

#[test]
fn bad_pictures_are_replaced_alike_by_any_number_of_workers_or_named_when_strict() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for index in 0..9u8 {
        let picture =
            image::RgbImage::from_fn(24, 20, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, index * 20]));
        picture.save(pictures.join(format!("{index}.png"))).unwrap();
    }
    std::fs::write(pictures.join("3.png"), "no picture").unwrap();
    let source = format!("Folder((root: {:?}))", pictures.display().to_string());
    let mut rejected = Vec::new();
    for workers in [1, 3] {
        let out = folder.path().join(workers.to_string());
        let outcome = go(&graph(&source, false, 4, workers), &options(&out)).unwrap();
        let log = std::fs::read_to_string(out.join("rejected.jsonl")).unwrap();
        assert_eq!(log.lines().count() as u64, outcome.summary.rejected);
        assert!(log.lines().all(|line| line.contains("3.png") && line.contains("\"replaced_by\":")), "{log}");
        rejected.push((log, lines(&out)));
    }
    assert!(rejected[0] == rejected[1]);
    let mut strict = graph(&source, false, 4, 2);
    let crate::stages::StageSpec::Decode(decode) = &mut strict.nodes["decode"].stage else { panic!() };
    decode.strict = true;
    let error = go(&strict, &options(&folder.path().join("strict"))).unwrap_err();
    assert!(error.status() == 2 && error.to_string().contains("3.png"), "{error}");
}

#[test]
fn data_that_is_not_there_is_said_before_the_folder_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let check = |source: &str, said: &str| {
        let error = go(&graph(source, false, 4, 1), &options(&out)).unwrap_err();
        assert!(error.status() == 2 && error.to_string().contains(said), "{error}");
        assert!(!out.exists());
    };
    check("Folder((root: \"/no/such/folder\"))", "/no/such/folder");
    let few = folder.path().join("few");
    std::fs::create_dir(&few).unwrap();
    image::RgbImage::new(8, 8).save(few.join("one.png")).unwrap();
    check(&format!("Folder((root: {:?}))", few.display().to_string()), "global_batch");
}
