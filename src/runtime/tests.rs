//! The runtime with made-up stages: order, resume, faults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dfdx::prelude::Cpu;

use super::doubles;
use super::execute::{Parts, execute};
use super::options::{Options, Outcome, RunError};
use super::signal::Interrupt;
use super::stage::{Inputs, Moment, Outputs, Stage, StageError, State};
use crate::checkpoint::Reuse;
use crate::optim::schedule::Horizon;
use crate::plan::{BatchPlan, NodeId, Plan};
use crate::report::progress::Show;
use crate::report::rejected::Rejections;
use crate::tensor::Crossing;

const FOUR: BatchPlan = BatchPlan { global: 4, micro: 2 };

/// What a test does when a stage works: node, what it is about to do, the step and micro-batch.
type Watch = Arc<dyn Fn(&str, &'static str, u64, usize) -> Result<(), StageError> + Send + Sync>;

/// A stage under watch.
struct Watched {
    name: String,
    inner: Box<dyn Stage<Cpu>>,
    watch: Watch,
}

impl Stage<Cpu> for Watched {
    fn first(&mut self, outputs: &mut Outputs<'_, Cpu>) -> Result<(), StageError> {
        (self.watch)(&self.name, "first", 0, 0)?;
        self.inner.first(outputs)
    }

    fn fire(
        &mut self,
        at: &Moment,
        i: &mut Inputs<'_, Cpu>,
        o: &mut Outputs<'_, Cpu>,
    ) -> Result<(), StageError> {
        (self.watch)(&self.name, "fire", at.step, at.micro)?;
        self.inner.fire(at, i, o)
    }

    fn backward(
        &mut self,
        at: &Moment,
        i: &mut Inputs<'_, Cpu>,
        o: &mut Outputs<'_, Cpu>,
    ) -> Result<(), StageError> {
        (self.watch)(&self.name, "backward", at.step, at.micro)?;
        self.inner.backward(at, i, o)
    }

    fn commit(&mut self, at: &Moment) {
        // an error has no way out of here; a panic has
        (self.watch)(&self.name, "commit", at.step, at.micro).unwrap();
        self.inner.commit(at);
    }

    fn save(&self) -> Result<State, StageError> {
        (self.watch)(&self.name, "save", 0, 0)?;
        self.inner.save()
    }

    fn restore(&mut self, state: State) -> Result<(), StageError> {
        self.inner.restore(state)
    }
}

fn unwatched() -> Watch {
    Arc::new(|_, _, _, _| Ok(()))
}

fn options(out: &Path) -> Options {
    Options { out: out.to_owned(), show: Show::Nothing, ..Options::default() }
}

fn run(plan: &Plan, options: &Options, watch: &Watch, interrupt: &Interrupt) -> Result<Outcome, RunError> {
    let build = |node: NodeId| -> Result<Box<dyn Stage<Cpu>>, StageError> {
        let name = plan.nodes[node.0].name.clone();
        watch(&name, "build", 0, 0)?;
        Ok(Box::new(Watched { name, inner: doubles::stage(plan, node), watch: watch.clone() }))
    };
    let device = Cpu::default();
    let parts = Parts {
        plan,
        graph: "()",
        horizon: Horizon { steps_per_epoch: 3, total_steps: 9 },
        device: Crossing::of(&device),
        build: &build,
        rejections: &Rejections::default(),
    };
    execute(&parts, options, interrupt)
}

fn plain(plan: &Plan, options: &Options) -> Outcome {
    run(plan, options, &unwatched(), &Interrupt::default()).unwrap()
}

/// Everything that a run leaves behind and that must not depend on time: every file, with its bytes.
fn remains(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in
        walkdir::WalkDir::new(out).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file())
    {
        let name = entry.path().strip_prefix(out).unwrap().to_owned();
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if name.ends_with("metrics.jsonl") {
            bytes = String::from_utf8(bytes).unwrap().lines().map(timeless).collect::<String>().into_bytes();
        }
        if !name.ends_with("lock") && !name.ends_with("timings.json") {
            files.insert(name, bytes);
        }
    }
    files
}

fn timeless(line: &str) -> String {
    let mut line: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
    line.remove("images_per_second");
    serde_json::to_string(&line).unwrap() + "\n"
}

fn names(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<String> {
    files.keys().map(|name| name.display().to_string()).collect()
}

fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().map(Result::unwrap) {
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        match entry.file_type().is_dir() {
            true => std::fs::create_dir_all(target).unwrap(),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn phases_fire_in_order_and_stages_commit_last() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let watch: Watch = {
        let log = log.clone();
        Arc::new(move |node, what, step, micro| {
            let island = !["source", "decode", "multi_crop", "collate"].contains(&node);
            if step == 1 && island && node != "knn" && (what != "commit" || node == "ema") {
                log.lock().unwrap().push(format!("{node} {what} {micro}"));
            }
            Ok(())
        })
    };
    let options = Options { steps: Some(2), sequential: true, ..options(folder.path()) };
    run(&doubles::plan(FOUR, 1), &options, &watch, &Interrupt::default()).unwrap();
    let expected = "teacher fire 0|teacher fire 1|center fire 0|\
        student fire 0|loss fire 0|loss backward 0|student backward 0|\
        student fire 1|loss fire 1|loss backward 1|student backward 1|\
        optimizer fire 0|ema fire 0|ema commit 0";
    assert_eq!(log.lock().unwrap().join("|"), expected);
}

#[test]
fn a_run_leaves_what_the_design_says() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = plain(&doubles::plan(FOUR, 2), &options(folder.path()));
    assert_eq!((outcome.status, outcome.step), (0, 9));
    let files = remains(folder.path());
    let checkpoint = |step: &str| {
        ["manifest.json", "state.safetensors", "student.safetensors", "teacher.safetensors"]
            .map(|name| format!("checkpoints/{step}/{name}"))
    };
    let mut expected = vec!["checkpoints/latest".to_owned()];
    expected.extend(checkpoint("step-00000006").into_iter().chain(checkpoint("step-00000009")));
    expected.extend(["graph.ron".to_owned(), "metrics.jsonl".to_owned()]);
    assert_eq!(names(&files), expected);
    assert_eq!(files[Path::new("checkpoints/latest")], b"step-00000009\n");
    let metrics = String::from_utf8(files[Path::new("metrics.jsonl")].clone()).unwrap();
    let events: Vec<_> = metrics.lines().map(|l| l.split(",\"").take(2).collect::<String>()).collect();
    let steps = |range: std::ops::Range<u64>| range.map(|s| format!("{{\"event\":\"step\"step\":{s}"));
    let knn = |step: u64| format!("{{\"event\":\"knn\"step\":{step}");
    let mut expected = vec![knn(0)];
    expected.extend(steps(0..4).chain([knn(4)]).chain(steps(4..8)).chain([knn(8)]).chain(steps(8..9)));
    expected.push(knn(9));
    assert_eq!(events, expected);
}

#[test]
fn any_number_of_workers_gives_the_bits_of_the_sequential_executor() {
    let folder = tempfile::tempdir().unwrap();
    for batch in [FOUR, BatchPlan { global: 4, micro: 1 }, BatchPlan { global: 3, micro: 3 }] {
        let out = |name: &str| folder.path().join(format!("{name}-{}", batch.micro));
        let one = out("sequential");
        plain(&doubles::plan(batch, 1), &Options { sequential: true, ..options(&one) });
        let expected = remains(&one);
        for workers in [1, 2, 8] {
            let many = out(&format!("workers-{workers}"));
            plain(&doubles::plan(batch, workers), &Options { threads: Some(workers), ..options(&many) });
            assert!(remains(&many) == expected, "{workers} workers, {batch:?}");
        }
    }
}

#[test]
fn micro_batches_add_up_to_the_whole_batch() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |micro: usize| -> Vec<f64> {
        let out = folder.path().join(micro.to_string());
        plain(&doubles::plan(BatchPlan { global: 4, micro }, 2), &options(&out));
        let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter_map(|line| line["loss"].as_f64()).collect()
    };
    let whole = losses(4);
    assert_eq!(whole.len(), 9);
    assert!(whole[8] > 1e-2, "{whole:?}");
    for micro in [1, 2] {
        for (a, b) in losses(micro).iter().zip(&whole) {
            assert!((a - b).abs() < 1e-5 * b.abs() + 1e-9, "{a} at micro-batch {micro}, {b} whole");
        }
    }
}

#[test]
fn a_run_resumed_at_any_step_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let plan = doubles::plan(FOUR, 2);
    plain(&plan, &options(&folder.path().join("whole")));
    let expected = remains(&folder.path().join("whole"));
    for step in 0..9 {
        let out = folder.path().join(step.to_string());
        plain(&plan, &Options { steps: Some(step), ..options(&out) });
        let outcome = plain(&plan, &Options { reuse: Reuse::Resume, ..options(&out) });
        assert_eq!(outcome.step, 9);
        let mut found = remains(&out);
        // the first run looked on at its own end as well
        let extra = format!("\"event\":\"knn\",\"step\":{step},");
        let all = String::from_utf8(found[Path::new("metrics.jsonl")].clone()).unwrap();
        let kept = all.lines().filter(|l| [0, 4, 8].contains(&step) || !l.contains(&extra));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        found.insert("metrics.jsonl".into(), kept.into_bytes());
        // and its last checkpoint is one more to choose the newest from
        assert_eq!(found.len(), expected.len(), "{:?}", names(&found));
        for (name, bytes) in expected.iter().filter(|(name, _)| found.contains_key(*name)) {
            assert!(found[name] == *bytes, "{} after resuming at {step}", name.display());
        }
        assert!(found.contains_key(Path::new("checkpoints/step-00000009/state.safetensors")));
    }
}

#[test]
fn a_run_killed_anywhere_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let plan = doubles::plan(FOUR, 2);
    let whole = folder.path().join("whole");
    plain(&plan, &options(&whole));
    let expected = remains(&whole);
    // the folder as a kill would leave it: when stages fire, commit and save
    let killed = Arc::new(Mutex::new(Vec::new()));
    let (out, at) = (folder.path().join("run"), folder.path().to_owned());
    let watch: Watch = {
        let (killed, out) = (killed.clone(), out.clone());
        Arc::new(move |node, what, step, _| {
            if ["optimizer", "knn"].contains(&node) && out.join("metrics.jsonl").exists() {
                let mut killed = killed.lock().unwrap();
                let name = format!("{}-{node}-{what}-{step}", killed.len());
                copy(&out, &at.join(&name));
                killed.push(name);
            }
            Ok(())
        })
    };
    run(&plan, &options(&out), &watch, &Interrupt::default()).unwrap();
    let killed = killed.lock().unwrap();
    assert!(killed.len() > 25);
    for name in killed.iter() {
        let out = folder.path().join(name);
        // a kill while a line or a checkpoint is written
        let log = std::fs::File::options().append(true).open(out.join("metrics.jsonl"));
        std::io::Write::write_all(&mut log.unwrap(), b"{\"event\":\"step\",\"st").unwrap();
        std::fs::create_dir_all(out.join("checkpoints/.unfinished-abc")).unwrap();
        std::fs::write(out.join("checkpoints/.unfinished-abc/state.safetensors"), b"half").unwrap();
        plain(&plan, &Options { reuse: Reuse::Resume, ..options(&out) });
        assert!(remains(&out) == expected, "killed at {name}");
    }
}

#[test]
fn the_first_fault_of_any_stage_is_named_and_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let plan = doubles::plan(FOUR, 2);
    let places = [
        ("source", "fire"),
        ("decode", "build"),
        ("decode", "fire"),
        ("multi_crop", "fire"),
        ("collate", "fire"),
        ("teacher", "fire"),
        ("center", "commit"),
        ("student", "fire"),
        ("student", "backward"),
        ("loss", "fire"),
        ("loss", "backward"),
        ("optimizer", "first"),
        ("optimizer", "fire"),
        ("ema", "fire"),
        ("ema", "save"),
        ("knn", "fire"),
        ("knn", "build"),
    ];
    for (index, (node, what)) in places.into_iter().enumerate() {
        for (panics, sequential) in [(true, false), (false, false), (true, true)] {
            if what == "commit" && !panics {
                continue;
            }
            let watch: Watch = Arc::new(move |at_node, at_what, step, _| {
                let early = ["build", "first", "save"].contains(&what);
                if (at_node, at_what) != (node, what) || (!early && step != 4) {
                    return Ok(());
                }
                assert!(!panics, "as the test wants");
                Err(StageError::NonFinite { what: "the test's number".into() })
            });
            let out = folder.path().join(format!("{index}-{panics}-{sequential}"));
            let options = Options { sequential, trace: Some(out.with_extension("json")), ..options(&out) };
            let start = Instant::now();
            let error = run(&plan, &options, &watch, &Interrupt::default()).unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(5), "{node} {what}");
            let text = error.to_string();
            assert!(text.starts_with(node), "{node} {what}: {text}");
            assert_eq!(text.contains("backward"), what == "backward", "{text}");
            assert_eq!(error.status(), if panics { 1 } else { 3 }, "{text}");
            let step = match what {
                "build" | "first" => 0,
                "save" => 3,
                _ => 4,
            };
            assert!(text.contains(&format!("step {step}:")), "{node} {what}: {text}");
            assert_eq!(text.contains("tests.rs:"), panics, "{text}");
            assert!(options.trace.unwrap().exists());
        }
    }
}

#[test]
fn a_failed_run_resumes_as_if_nothing_had_happened() {
    let folder = tempfile::tempdir().unwrap();
    let plan = doubles::plan(FOUR, 2);
    let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
    plain(&plan, &options(&whole));
    let watch: Watch = Arc::new(|node, what, step, _| match (node, what, step) {
        ("optimizer", "fire", 7) => Err(StageError::NonFinite { what: "the gradient".into() }),
        _ => Ok(()),
    });
    let error = run(&plan, &options(&out), &watch, &Interrupt::default()).unwrap_err();
    assert_eq!(
        (error.status(), error.to_string().as_str()),
        (3, "optimizer, step 7: the gradient is not finite")
    );
    plain(&plan, &Options { reuse: Reuse::Resume, ..options(&out) });
    assert!(remains(&out) == remains(&whole));
}

#[test]
fn a_signal_ends_a_run_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let plan = doubles::plan(FOUR, 2);
    let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
    plain(&plan, &options(&whole));
    // one of them comes where knn is due
    for (signal, status, step) in [(2, 130, 3), (15, 143, 4), (2, 130, 0)] {
        let interrupt = Arc::new(Interrupt::default());
        let watch: Watch = {
            let interrupt = interrupt.clone();
            Arc::new(move |node, what, at, _| {
                if (node, what, at + 1) == ("student", "fire", step)
                    || (node, what, step) == ("knn", "build", 0)
                {
                    interrupt.set(signal);
                }
                Ok(())
            })
        };
        let outcome = run(&plan, &options(&out), &watch, &interrupt).unwrap();
        assert_eq!((outcome.status, outcome.step), (status, step));
        assert!(out.join(format!("checkpoints/step-{step:08}/manifest.json")).exists());
        plain(&plan, &Options { reuse: Reuse::Resume, ..options(&out) });
        assert!(remains(&out) == remains(&whole), "signal {signal}");
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_used_or_locked_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let plan = doubles::plan(FOUR, 1);
    let go = |options: &Options| run(&plan, options, &unwatched(), &Interrupt::default());
    let plain = options(folder.path());
    go(&Options { steps: Some(2), ..plain.clone() }).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let error = go(&plain).unwrap_err();
    assert!(error.status() == 2 && error.to_string().contains("--overwrite"), "{error}");
    let held = crate::checkpoint::RunFolder::open(folder.path(), Reuse::Resume).unwrap();
    let error = go(&Options { reuse: Reuse::Overwrite, ..plain.clone() }).unwrap_err();
    assert!(error.status() == 2 && error.to_string().contains("another run"), "{error}");
    drop(held);
    let outcome = go(&Options { reuse: Reuse::Overwrite, steps: Some(1), ..plain.clone() }).unwrap();
    assert_eq!(outcome.step, 1);
    assert!(
        folder.path().join("notes.txt").exists() && !folder.path().join("checkpoints/step-00000002").exists()
    );
}

#[test]
fn slow_islands_hold_the_source_back() {
    let folder = tempfile::tempdir().unwrap();
    let ahead = Arc::new(Mutex::new((0, 0)));
    let watch: Watch = {
        let ahead = ahead.clone();
        Arc::new(move |node, what, step, micro| {
            let mut ahead = ahead.lock().unwrap();
            match (node, what) {
                ("source", "fire") => ahead.0 = ahead.0.max(step * 4 + micro as u64 - ahead.1),
                ("ema", "fire") => ahead.1 = (step + 1) * 4,
                _ => {}
            }
            drop(ahead);
            if (node, what) == ("ema", "fire") {
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        })
    };
    run(&doubles::plan(FOUR, 2), &options(folder.path()), &watch, &Interrupt::default()).unwrap();
    // 3 channels of 2 pictures, one of 2 micro-batches, 5 workers of a picture and one of 2, and a step in hand
    let most = ahead.lock().unwrap().0;
    assert!((8..=21).contains(&most), "{most} pictures ahead");
}
