//! Small runs that do collapse, with the program itself: the doctor stops them, at the same step whatever happens in between.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const GRAPH: &str = include_str!("graphs/small.ron");

/// No sharpening: targets are flat, and the student learns to be.
const FLAT: &[&str] = &["--set", "center.temperature=Constant(1)"];
/// A centre that never moves, which is no centring.
const UNCENTRED: &[&str] = &["--set", "center.momentum=1"];

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("short.ron"), GRAPH).unwrap();
        Bench { folder }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, out: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoflow"));
        command.arg("run").arg(self.folder.path().join("short.ron")).arg("--out").arg(self.out(out));
        said(command.args(arguments).output().unwrap())
    }

    fn doctor(&self, out: &str) -> (String, Value) {
        let ask = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_dinoflow"));
            let output = command.arg("doctor").arg(self.out(out)).args(arguments).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        (ask(&[]), serde_json::from_str(&ask(&["--json"])).unwrap())
    }
}

fn said(output: Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The steps' lines without what depends on time.
fn steps(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("images_per_second");
        line
    });
    lines.collect()
}

#[test]
fn flat_targets_stop_a_run_at_the_same_step_on_any_way_there() {
    let bench = Bench::new();
    let (status, said) = bench.run("whole", &[FLAT, &["--threads", "1"]].concat());
    assert_eq!(status, Some(3), "{said}");
    let remedy = "--set 'center.temperature=Constant(0.04)'";
    for words in ["collapsed to uniform", "temperature was 1", remedy, "on_collapse=Warn"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    let whole = steps(&bench.out("whole"));
    let (words, json) = bench.doctor("whole");
    assert!(words.contains("collapsed to uniform") && words.contains(remedy), "{words}");
    assert_eq!((&json["verdict"], &json["collapse"]["to"]), (&"collapsed".into(), &"uniform".into()));
    let since = json["collapse"]["since"].as_u64().unwrap();
    assert_eq!(since + 50, whole.len() as u64);
    let latest = std::fs::read_to_string(bench.out("whole").join("checkpoints/latest")).unwrap();
    assert_eq!(latest.trim(), format!("step-{:08}", whole.len()));

    // a resume in the middle of the row counts on, with other threads
    let middle = (since + 20).to_string();
    assert_eq!(bench.run("parts", &[FLAT, &["--steps", &middle, "--threads", "3"]].concat()).0, Some(0));
    assert_eq!(bench.run("parts", &[FLAT, &["--resume"]].concat()).0, Some(3));
    assert_eq!(steps(&bench.out("parts")), whole);
    // who resumes it is told again, and nothing runs
    let (status, again) = bench.run("parts", &[FLAT, &["--resume"]].concat());
    assert!(status == Some(3) && again.contains("collapsed to uniform"), "{again}");
    assert_eq!(steps(&bench.out("parts")), whole);
    // unless that is what is wanted
    let more = (whole.len() + 10).to_string();
    let on = ["--resume", "--set", "on_collapse=Warn", "--steps", &more];
    let (status, quiet) = bench.run("parts", &[FLAT, &on].concat());
    assert!(status == Some(0) && !quiet.contains("collapsed"), "{quiet}");
    assert_eq!(steps(&bench.out("parts")).len(), whole.len() + 10);

    let (status, warned) = bench.run("warned", &[FLAT, &on[1..]].concat());
    assert_eq!((status, warned.matches("collapsed to uniform").count()), (Some(0), 1), "{warned}");
    assert_eq!(steps(&bench.out("warned")), steps(&bench.out("parts")));
}

#[test]
fn without_a_centre_one_prototype_takes_all() {
    let bench = Bench::new();
    let (status, said) = bench.run("run", UNCENTRED);
    assert_eq!(status, Some(3), "{said}");
    for words in ["collapsed to one prototype", "momentum is 1", "--set center.momentum=0.9"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    let last = steps(&bench.out("run")).pop().unwrap();
    assert!(
        last["used_prototypes"].as_u64().or(last["used_prototypes"].as_f64().map(|n| n as u64)) <= Some(2)
    );
    assert!(last["agreement"].as_f64() > Some(0.9));
}

#[test]
fn a_copied_student_comes_to_one_target() {
    let bench = Bench::new();
    let (status, said) = bench.run("run", &["--swap", "ema=StudentCopy()", "--set", "optimizer.lr=0.002"]);
    assert_eq!(status, Some(3), "{said}");
    for words in ["collapsed to one target", "a copy of the student", "--swap ema=stages/ema/momentum.ron"] {
        assert!(said.contains(words), "{words} in {said}");
    }
}

#[test]
fn the_recipe_is_found_healthy() {
    let bench = Bench::new();
    assert_eq!(bench.run("run", &["--steps", "120"]).0, Some(0));
    let (words, json) = bench.doctor("run");
    assert!(words.starts_with("healthy so far: 120 of 600 steps"), "{words}");
    assert_eq!((&json["verdict"], &json["causes"]), (&"healthy".into(), &Value::Array(vec![])));
    for line in steps(&bench.out("run")) {
        let figure = |key: &str| line[key].as_f64().unwrap();
        assert!(
            (1.0..=16.0).contains(&figure("used_prototypes")) && (0.0..=1.0).contains(&figure("agreement"))
        );
        assert!((0.9..=15.1).contains(&figure("effective_rank")), "{line}");
    }
}
