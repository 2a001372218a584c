//! Checkpoints that a kill, a disk or a person damaged.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::graph::load::{Request, load_text};
use crate::graph::spec::Recompute;
use crate::graph::write::to_ron;
use crate::runtime::stage::{SavedTensor, State};

fn keys(lr: &str) -> GraphKeys {
    BTreeMap::from([("nodes.optimizer.stage.AdamW.lr".to_owned(), lr.to_owned())])
}

#[test]
fn what_is_computed_again_may_change_between_a_run_and_its_continuation() {
    let text = include_str!("../../graphs/quickstart.ron");
    let of = |recompute| {
        let mut graph = load_text(text, &Request::default()).spec.unwrap();
        graph.network.recompute = recompute;
        (graph_keys(&graph).unwrap(), to_ron(&graph).unwrap())
    };
    let ((kept, written), (again, said)) = (of(Recompute::Nothing), of(Recompute::Blocks));
    assert_eq!(kept, again);
    // as before there was a choice, so that older files and programs go on
    assert!(!written.contains("recompute") && said.contains("recompute: Blocks"), "{said}");
}

fn snapshot(step: u64) -> Snapshot {
    let weights =
        SavedTensor::F32 { dims: vec![2, 3], values: (0..6).map(|i| step as f32 + i as f32).collect() };
    let count = SavedTensor::U64 { dims: vec![], values: vec![u64::MAX - step] };
    let mut saved = Saved::default();
    saved.files.insert("state".into(), State::from([("optimizer/count".into(), count)]));
    saved.files.insert("student".into(), State::from([("head.w".into(), weights)]));
    saved.owners.insert("student/head.w".into(), "optimizer".into());
    Snapshot { step, evaluated: true, saved }
}

fn folder(path: &Path) -> RunFolder {
    RunFolder::open(path, Reuse::Resume).unwrap()
}

/// A folder with checkpoints of steps 3, 6 and 9.
fn three(path: &Path) -> RunFolder {
    let folder = folder(path);
    for step in [3, 6, 9] {
        write(&folder, &snapshot(step), &keys("1.0"), 0).unwrap();
    }
    folder
}

#[test]
fn what_was_written_is_read() {
    let at = tempfile::tempdir().unwrap();
    let folder = three(at.path());
    let resumed = resume(&folder, &keys("1.0")).unwrap().unwrap();
    assert_eq!(resumed.snapshot, snapshot(9));
    assert!(resumed.passed_over.is_empty());
    let manifest: serde_json::Value = serde_json::from_slice(
        &std::fs::read(at.path().join("checkpoints/step-00000009/manifest.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(manifest["manifest"]["format"], 1);
    assert_eq!(manifest["manifest"]["step"], 9);
}

#[test]
fn the_newest_stay() {
    let at = tempfile::tempdir().unwrap();
    let folder = folder(at.path());
    for step in 1..6 {
        write(&folder, &snapshot(step), &keys("1.0"), 2).unwrap();
    }
    let steps: Vec<u64> = folder.steps().unwrap().into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, [4, 5]);
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let step = "checkpoints/step-00000009";
    let check = |damage: &dyn Fn(&Path), expected: u64, said: &str| {
        let at = tempfile::tempdir().unwrap();
        drop(three(at.path()));
        damage(at.path());
        let folder = folder(at.path());
        let resumed = resume(&folder, &keys("1.0")).unwrap().unwrap();
        assert_eq!(resumed.snapshot, snapshot(expected), "{said}");
        let words = resumed.passed_over.join("; ");
        assert!(words.contains(said) && !said.is_empty() || words == said, "{words}");
        // what lies beyond is gone, so that it is never mistaken for this run's
        assert!(folder.steps().unwrap().iter().all(|(step, _)| *step <= expected));
    };
    let flip = |name: &'static str, byte: usize| {
        move |at: &Path| {
            let path = at.join(step).join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            let byte = byte.min(bytes.len() - 1);
            bytes[byte] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
    };
    let write_latest =
        |text: &'static str| move |at: &Path| std::fs::write(at.join("checkpoints/latest"), text).unwrap();
    check(&|_| {}, 9, "");
    check(&flip("state.safetensors", usize::MAX), 6, "state.safetensors");
    check(&flip("student.safetensors", 0), 6, "student.safetensors");
    check(&flip("manifest.json", 40), 6, "manifest.json");
    check(&|at| std::fs::remove_file(at.join(step).join("manifest.json")).unwrap(), 6, "manifest.json");
    check(&|at| std::fs::write(at.join(step).join("state.safetensors"), b"").unwrap(), 6, "it has 0 bytes");
    check(&|at| std::fs::remove_file(at.join("checkpoints/latest")).unwrap(), 9, "latest");
    check(&write_latest("step-0000"), 9, "latest");
    check(&write_latest("step-00000012\n"), 9, "latest");
    // a kill between the checkpoint's rename and that of `latest`
    check(&write_latest("step-00000006\n"), 6, "");
    // a copy under another step's name
    let renamed = |at: &Path| {
        let folder = at.join("checkpoints");
        std::fs::rename(folder.join("step-00000009"), folder.join("step-00000010")).unwrap();
    };
    check(&renamed, 6, "it is of step 9");
}

#[test]
fn no_checkpoint_is_a_beginning_and_none_whole_is_an_error() {
    let at = tempfile::tempdir().unwrap();
    assert!(resume(&folder(at.path()), &keys("1.0")).unwrap().is_none());
    let folder = three(at.path());
    for (_, path) in folder.steps().unwrap() {
        std::fs::write(path.join("manifest.json"), "{}").unwrap();
    }
    let error = resume(&folder, &keys("1.0")).unwrap_err();
    assert_eq!(error.status(), 2);
    assert_eq!(error.to_string().matches("manifest.json").count(), 3, "{error}");
}

#[test]
fn another_graph_is_refused_with_what_differs() {
    let at = tempfile::tempdir().unwrap();
    let error = resume(&three(at.path()), &keys("2.0")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("optimizer.stage.AdamW.lr: 1.0 in the checkpoint, 2.0 in the graph"), "{text}");
    assert_eq!(error.status(), 2);
}

#[test]
fn unfinished_files_are_cleared_away() {
    let at = tempfile::tempdir().unwrap();
    drop(three(at.path()));
    let half = at.path().join("checkpoints/.unfinished-x");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("state.safetensors"), "half").unwrap();
    std::fs::write(at.path().join(".unfinished-y"), "half").unwrap();
    drop(folder(at.path()));
    assert!(!half.exists() && !at.path().join(".unfinished-y").exists());
}

#[cfg(unix)]
#[test]
fn results_are_as_readable_as_the_user_wants() {
    use std::os::unix::fs::PermissionsExt;
    let at = tempfile::tempdir().unwrap();
    drop(three(at.path()));
    std::fs::write(at.path().join("plain"), "").unwrap();
    let mode = |name: &str| std::fs::metadata(at.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("checkpoints/latest"), mode("plain"));
    assert_eq!(mode("checkpoints/step-00000003/state.safetensors"), mode("plain"));
    assert_eq!(mode("checkpoints/step-00000003"), mode("checkpoints"));
}

#[test]
fn an_evaluation_that_was_made_up_for_is_noted() {
    let at = tempfile::tempdir().unwrap();
    let folder = folder(at.path());
    write(&folder, &Snapshot { evaluated: false, ..snapshot(2) }, &keys("1.0"), 1).unwrap();
    mark_evaluated(&folder, 2).unwrap();
    assert_eq!(resume(&folder, &keys("1.0")).unwrap().unwrap().snapshot, snapshot(2));
}
