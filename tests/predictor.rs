//! A predictor between student and loss: how it is wired, what it trains, where its weights are kept.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use dinoflow::graph::load::{Request, load_text};
use dinoflow::graph::problem::{Diagnostic, Severity};
use dinoflow::plan::{Plan, actors, build};
use dinoflow::stages::Registry;
use safetensors::SafeTensors;

/// A graph with a predictor whose gradients come from all its rows, or from micro-batches of them.
const GRAPH: &str = r#"(
    name: "predicting", global_batch: 4, micro_batch: 4, duration: Steps(12), seed: 5, precision: F32,
    network: (
        backbone: VitMicro(patch: 8, image: 16),
        head: (hidden: 32, bottleneck: 16, out_dim: 64),
        drop_path: 0.1,
    ),
    nodes: {
        "source": (stage: Synthetic(count: 30, size: 24, classes: 8)),
        "decode": (stage: Decode(), inputs: {"bytes": "source/bytes"}),
        "multi_crop": (
            stage: MultiCrop(global_size: 16, local_size: 8, local_crops: 2),
            inputs: {"images": "decode/images"},
        ),
        "collate": (stage: Collate(), inputs: {"crops": "multi_crop/crops"}),
        "student": (
            stage: Student(),
            inputs: {"global": "collate/global", "local": "collate/local"},
            feedback: {"weights": "optimizer/weights"},
        ),
        "predictor": (
            stage: Predictor(hidden: 48),
            inputs: {"logits": "student/logits"},
            feedback: {"weights": "optimizer/predictor"},
        ),
        "teacher": (stage: Teacher(), inputs: {"global": "collate/global"}, feedback: {"weights": "ema/weights"}),
        "center": (stage: Centering(temperature: Constant(0.04)), inputs: {"logits": "teacher/logits"}),
        "loss": (stage: CrossEntropy(), inputs: {"logits": "predictor/logits", "targets": "center/targets"}),
        "optimizer": (
            stage: AdamW(
                trains: ["student", "predictor"], lr: 0.01, lr_scaling: None, lr_course: Cosine(warmup: Steps(3)),
            ),
        ),
        "ema": (stage: Momentum(momentum: Constant(0.9)), inputs: {"student": "optimizer/weights"}),
        "checkpoint": (stage: Checkpoint(every: Steps(2), keep: 2)),
    },
)"#;

fn judge(text: &str) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let request = Request { graph: "graph.ron".into(), ..Request::default() };
    build::plan(&load_text(text, &request), &Registry::default())
}

/// The graph with some of its text replaced.
fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(GRAPH.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the graph has no {from:?}");
        text.replacen(from, to, 1)
    })
}

#[test]
fn its_halves_stand_between_those_of_student_and_loss() {
    let (plan, notes) = judge(GRAPH).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(notes.is_empty(), "{notes:#?}");
    let word = |actor: &dinoflow::plan::Actor| actors::word(&plan.nodes[actor.node.0].name, actor.direction);
    let phases: Vec<String> = plan
        .phases
        .iter()
        .map(|phase| phase.actors.iter().map(word).collect::<Vec<_>>().join(", "))
        .collect();
    assert_eq!(
        phases,
        [
            "teacher",
            "center",
            "student, predictor, loss, loss/backward, predictor/backward, student/backward",
            "optimizer, ema",
        ]
    );
    let predictor = plan.nodes.iter().find(|node| node.name == "predictor").unwrap();
    assert_eq!(predictor.cost.parameters, 2 * 64 * 48 + 48 + 64 + 2 * 48);
}

/// An ablation's variant has nothing but flags.
#[test]
fn flags_put_it_in_where_the_file_has_none() {
    let node = GRAPH.find("        \"predictor\"").unwrap()..GRAPH.find("        \"teacher\"").unwrap();
    let without =
        GRAPH.replace(&GRAPH[node.clone()], "").replace("\"predictor/logits\"", "\"student/logits\"");
    let without = without.replace("trains: [\"student\", \"predictor\"], ", "");
    let (_, value) = GRAPH[node].trim().trim_end_matches(',').split_once(": ").unwrap();
    let sets = [
        format!("nodes.predictor={value}"),
        "loss.inputs.logits=\"predictor/logits\"".into(),
        "optimizer.trains=[\"student\", \"predictor\"]".into(),
    ];
    let request = Request { graph: "graph.ron".into(), sets: sets.into(), ..Request::default() };
    let (spec, expected) = (load_text(&without, &request).spec, load_text(GRAPH, &Request::default()).spec);
    assert!(spec.is_some() && spec == expected, "{spec:#?}");
}

#[test]
fn wiring_it_wrong_is_refused_at_its_place() {
    let check = |edits: &[(&str, &str)], expected: &[(&str, &str)]| {
        let text = edited(edits);
        let request = Request { graph: "graph.ron".into(), ..Request::default() };
        let loaded = load_text(&text, &request);
        let problems = build::plan(&loaded, &Registry::default()).err().unwrap_or_default();
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
        let found: Vec<(&str, String)> = errors
            .map(|e| (loaded.origins.at(&e.place), format!("{}; expected {}", e.what, e.expected)))
            .collect();
        let fits = found.len() == expected.len()
            && found.iter().zip(expected).all(|(f, e)| f.0 == e.0 && f.1.contains(e.1));
        assert!(fits, "{edits:?}:\n  found {found:?}\n  not   {expected:?}");
    };
    let trains = "trains: [\"student\", \"predictor\"]";
    check(
        &[(trains, "trains: [\"student\"]")],
        &[("\"predictor\"", "no optimizer trains `predictor`; expected `optimizer.trains` to name it")],
    );
    check(
        &[(trains, "trains: [\"predictor\"]")],
        &[("[\"predictor\"]", "expected one student, and at most one predictor")],
    );
    check(
        &[(trains, "trains: [\"student\", \"predictor\", \"student\"]")],
        &[("[\"student\", \"predictor\", \"student\"]", "expected one student, and at most one predictor")],
    );
    check(
        &[("\"optimizer/predictor\"", "\"optimizer/weights\"")],
        &[(
            "\"optimizer/weights\"",
            "what arrives at `predictor/weights`, from `optimizer/weights`, does not fit; expected predictor's weights",
        )],
    );
    check(
        &[("\"optimizer/weights\"", "\"optimizer/predictor\"")],
        &[(
            "\"optimizer/predictor\"",
            "what arrives at `student/weights`, from `optimizer/predictor`, does not fit; expected weights",
        )],
    );
    check(
        &[("\"optimizer/predictor\"", "\"ema/weights\"")],
        &[
            ("\"ema/weights\"", "takes its weights from elsewhere; expected `optimizer/predictor`"),
            ("\"ema/weights\"", "what arrives at `predictor/weights`, from `ema/weights`, does not fit"),
        ],
    );
    check(
        &[("\"logits\": \"predictor/logits\"", "\"logits\": \"student/logits\"")],
        &[("\"predictor\"", "`optimizer` trains `predictor`, but no gradient reaches it")],
    );
    check(
        &[("{\"student\": \"optimizer/weights\"}", "{\"student\": \"optimizer/predictor\"}")],
        &[(
            "\"optimizer/predictor\"",
            "what arrives at `ema/student`, from `optimizer/predictor`, does not fit",
        )],
    );
    check(&[("hidden: 48", "hidden: 0")], &[("0", "`hidden` of `predictor` does not fit")]);
    check(&[("micro_batch: 4", "micro_batch: 2")], &[("2", "`micro_batch` does not fit `predictor`")]);
}

fn run(graph: &Path, out: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoflow"));
    let output = command.arg("run").arg(graph).arg("--out").arg(out).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The record without what depends on time, and the last checkpoint's files.
fn remains(out: &Path) -> (Vec<serde_json::Value>, Vec<Vec<u8>>) {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("images_per_second");
        line
    });
    let files = ["student", "teacher", "state"].map(|name| {
        std::fs::read(out.join(format!("checkpoints/step-00000012/{name}.safetensors"))).unwrap()
    });
    (lines.collect(), files.to_vec())
}

#[test]
fn it_trains_and_goes_on_with_the_same_bits() {
    let check = |edits: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let (graph, whole, parts) =
            (folder.path().join("graph.ron"), folder.path().join("whole"), folder.path().join("parts"));
        std::fs::write(&graph, edited(edits)).unwrap();
        run(&graph, &whole, &[]);
        run(&graph, &parts, &["--steps", "5", "--sequential"]);
        let start = std::fs::read(parts.join("checkpoints/step-00000005/state.safetensors")).unwrap();
        run(&graph, &parts, &["--resume", "--no-fuse", "--threads", "3"]);
        let (lines, files) = remains(&whole);
        assert!(remains(&parts) == (lines.clone(), files.clone()), "{edits:?}");
        assert!(lines.len() == 12 && lines.iter().all(|line| line["loss"].is_f64()));
        // its weights are in the state alone, and they move
        let names = |bytes: &[u8]| {
            let file = SafeTensors::deserialize(bytes).unwrap();
            let names = file.names().into_iter().map(str::to_owned);
            names.filter(|name| name.contains("predictor")).collect::<Vec<_>>()
        };
        assert!(names(&files[0]).is_empty() && names(&files[1]).is_empty());
        let weights = |bytes: &[u8]| {
            let file = SafeTensors::deserialize(bytes).unwrap();
            file.tensor("optimizer/predictor.0.weight").unwrap().data().to_vec()
        };
        assert!(weights(&start) != weights(&files[2]));
        assert!(names(&files[2]).iter().any(|name| name == "optimizer/updates/predictor.0.bias"));
    };
    check(&[]);
    // without batch norm the batch may be cut
    check(&[
        ("hidden: 48", "hidden: 48, batch_norm: false, activation: Relu"),
        ("micro_batch: 4", "micro_batch: 2"),
    ]);
    check(&[("AdamW(", "Sgd("), ("lr_scaling: None,", "lr_scaling: None, clip: Global(1.0),")]);
}
