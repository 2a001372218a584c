//! The program as its user runs it.

use std::path::Path;
use std::process::{Command, Output};

fn program(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(env!("CARGO_BIN_EXE_own_loss")).current_dir(root).args(arguments).output().unwrap()
}

#[test]
fn a_graph_with_the_loss_trains_and_its_mistakes_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let small = ["--set", "knn.train.count=64", "--set", "knn.val.count=32", "--set", "global_batch=16"];
    let run = [&["run", "graph.ron", "--steps", "4", "--out", out.to_str().unwrap()][..], &small].concat();
    let output = program(&run);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let record = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert_eq!(record.lines().filter(|line| line.contains("\"loss\"")).count(), 4, "{record}");

    let wrong = r#"loss=Custom(kind: "brier", with: (temperature: -1))"#;
    let output = program(&["check", "graph.ron", "--swap", wrong]);
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{shown}");
    assert!(shown.contains("expected a number above 0; found -1"), "{shown}");
}
