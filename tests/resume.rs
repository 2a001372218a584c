//! Runs that are killed, interrupted, resumed and timed, with the program itself.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dinoflow::keyed::Key;

const GRAPH: &str = r#"(
    name: "short", global_batch: 4, micro_batch: 2, duration: Steps(30), seed: 5,
    network: (
        backbone: VitMicro(patch: 8, image: 16),
        head: (hidden: 32, bottleneck: 16, out_dim: 64),
        drop_path: 0.1,
    ),
    nodes: {
        "source": (stage: Synthetic(count: 30, size: 24, classes: 8)),
        "decode": (stage: Decode(workers: 2), inputs: {"bytes": "source/bytes"}),
        "multi_crop": (
            stage: MultiCrop(global_size: 16, local_size: 8, local_crops: 2, workers: 2),
            inputs: {"images": "decode/images"},
        ),
        "collate": (stage: Collate(), inputs: {"crops": "multi_crop/crops"}),
        "student": (
            stage: Student(),
            inputs: {"global": "collate/global", "local": "collate/local"},
            feedback: {"weights": "optimizer/weights"},
        ),
        "teacher": (stage: Teacher(), inputs: {"global": "collate/global"}, feedback: {"weights": "ema/weights"}),
        "center": (stage: Centering(), inputs: {"logits": "teacher/logits"}),
        "loss": (stage: CrossEntropy(), inputs: {
            "logits": "student/logits", "targets": "center/targets", "teacher": "center/centered", "cls": "student/cls",
        }),
        "optimizer": (stage: AdamW(lr: 0.01, lr_scaling: None, lr_course: Cosine(warmup: Steps(5)))),
        "ema": (stage: Momentum(momentum: Cosine(from: 0.9, to: 1.0)), inputs: {"student": "optimizer/weights"}),
        "knn": (
            stage: Knn(
                train: Synthetic(count: 16, size: 24, classes: 8),
                val: Synthetic(count: 8, size: 24, classes: 8, split: Val),
                every: Steps(10), k: [1],
            ),
            inputs: {"teacher": "ema/weights"},
        ),
        "checkpoint": (stage: Checkpoint(every: Steps(2), keep: 2)),
    },
)"#;

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

    fn run(&self, out: &Path, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoflow"));
        command.arg("run").arg(self.folder.path().join("short.ron")).arg("--out").arg(out).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn finish(&self, out: &Path, arguments: &[&str]) -> Output {
        self.run(out, arguments).wait_with_output().unwrap()
    }

    /// Runs to an end that must be a good one.
    fn succeed(&self, out: &Path, arguments: &[&str]) {
        let output = self.finish(out, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The logged lines without what depends on time, and the last weights and state.
fn remains(out: &Path) -> (Vec<serde_json::Value>, Vec<Vec<u8>>) {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("images_per_second");
        line
    });
    let latest = std::fs::read_to_string(out.join("checkpoints/latest")).unwrap();
    let folder = out.join("checkpoints").join(latest.trim());
    let names = ["student.safetensors", "teacher.safetensors", "state.safetensors"];
    (lines.collect(), names.iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect())
}

#[test]
fn twenty_kills_change_no_bit() {
    let bench = Bench::new();
    let start = Instant::now();
    bench.succeed(&bench.out("whole"), &[]);
    let length = start.elapsed();
    let expected = remains(&bench.out("whole"));
    assert_eq!(expected.0.iter().filter(|line| line["event"] == "step").count(), 30);
    let mut instants = Key::new(20).named("instants").draws();
    let (mut kills, mut round) = (0, 0);
    // workers and executor change from life to life
    let lives: [&[&str]; 4] = [
        &["--resume"],
        &["--resume", "--sequential"],
        &["--resume", "--set", "decode.workers=1", "--set", "multi_crop.workers=8"],
        &["--resume", "--set", "decode.workers=8", "--threads", "3"],
    ];
    while kills < 20 {
        let out = bench.out(&format!("killed-{round}"));
        round += 1;
        loop {
            let mut child = bench.run(&out, lives[kills % lives.len()]);
            let wait = length.mul_f64(instants.uniform(0.05, 0.7));
            let until = Instant::now() + wait;
            while Instant::now() < until && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if child.try_wait().unwrap().is_some() || kills == 20 {
                let _ = child.wait();
                break;
            }
            // SIGKILL: nothing is flushed, nothing is closed
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        bench.succeed(&out, &["--resume"]);
        assert!(remains(&out) == expected, "after {kills} kills");
    }
}

#[test]
fn every_optimizer_and_teachers_rule_goes_on_with_the_same_bits() {
    let bench = Bench::new();
    let swaps = [
        "optimizer=Sgd(lr_course: Cosine(warmup: Steps(5)))",
        "optimizer=Lars(lr_course: Cosine(warmup: Steps(5)), clip: Global(1.0))",
        "ema=StudentCopy()",
        "ema=PreviousIteration()",
        "ema=PreviousEpoch()",
    ];
    let mut weights = vec![];
    for (number, swap) in swaps.into_iter().enumerate() {
        let (whole, parts) = (bench.out(&format!("whole-{number}")), bench.out(&format!("parts-{number}")));
        let graph = ["--swap", swap, "--without", "knn"];
        bench.succeed(&whole, &graph);
        // within the second of four epochs of seven steps
        bench.succeed(&parts, &[&graph[..], &["--steps", "9", "--sequential"]].concat());
        bench.succeed(&parts, &[&graph[..], &["--resume", "--no-fuse"]].concat());
        assert!(remains(&parts) == remains(&whole), "{swap}");
        let (lines, files) = remains(&whole);
        let momentum = |line: &serde_json::Value| line["teacher_momentum"].is_f64();
        assert!(lines.iter().all(|line| momentum(line) == swap.starts_with("optimizer")), "{swap}");
        weights.push(files[1].clone());
    }
    weights.dedup();
    assert_eq!(weights.len(), swaps.len(), "two rules make the same teacher");
}

#[test]
fn signals_leave_a_checkpoint_and_their_status() {
    let bench = Bench::new();
    bench.succeed(&bench.out("whole"), &[]);
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let out = bench.out(signal);
        let child = bench.run(&out, &[]);
        let log = out.join("metrics.jsonl");
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::fs::read_to_string(&log).unwrap_or_default().matches("\"step\":").count() < 3 {
            assert!(Instant::now() < deadline, "no steps were logged");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", String::from_utf8_lossy(&output.stderr));
        let latest = std::fs::read_to_string(out.join("checkpoints/latest")).unwrap();
        assert!(out.join("checkpoints").join(latest.trim()).join("manifest.json").exists());
        bench.succeed(&out, &["--resume"]);
        assert!(remains(&out) == remains(&bench.out("whole")), "{signal}");
    }
}

#[test]
fn a_used_folder_and_another_graph_are_refused() {
    let bench = Bench::new();
    let out = bench.out("used");
    bench.succeed(&out, &["--steps", "3"]);
    let refused = |arguments: &[&str], said: &str| {
        let output = bench.finish(&out, arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{text}");
    };
    refused(&[], "--overwrite");
    refused(
        &["--resume", "--set", "optimizer.lr=0.02"],
        "nodes.optimizer.stage.AdamW.lr: 0.01 in the checkpoint, 0.02",
    );
    // how long, where and how fast are free
    bench
        .succeed(&out, &["--resume", "--steps", "4", "--set", "decode.workers=1", "--set", "name=\"other\""]);
    bench.succeed(&out, &["--overwrite", "--steps", "1"]);
}

#[test]
fn a_folder_of_other_files_is_refused_and_left_alone() {
    let bench = Bench::new();
    let list = |out: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    for (name, file) in [("photos", "cat.jpg"), ("graphs", "graph.ron"), ("others", "checkpoints/latest")] {
        let (out, file) = (bench.out(name), bench.out(name).join(file));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "mine").unwrap();
        let before = list(&out);
        for arguments in [&[][..], &["--resume"], &["--overwrite"]] {
            let output = bench.finish(&out, arguments);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{text}");
            assert!(text.contains("no run of dinoflow") && text.contains("--out"), "{text}");
            assert_eq!(
                (list(&out), std::fs::read_to_string(&file).unwrap().as_str()),
                (before.clone(), "mine")
            );
        }
    }
    // what a system leaves anywhere is nobody's, and what lies beside a run's files stays
    let out = bench.out("run");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join(".DS_Store"), "").unwrap();
    bench.succeed(&out, &["--steps", "2"]);
    let mine = ["notes.txt", "checkpoints/notes.txt"].map(|name| out.join(name));
    mine.iter().for_each(|path| std::fs::write(path, "mine").unwrap());
    bench.succeed(&out, &["--overwrite", "--steps", "1"]);
    assert!(mine.iter().all(|path| std::fs::read_to_string(path).unwrap() == "mine"));
    let checkpoint = |step: u64| out.join(format!("checkpoints/step-{step:08}")).exists();
    assert_eq!((checkpoint(1), checkpoint(2)), (true, false));
    // a copy that was made without the lock goes on all the same
    std::fs::remove_file(out.join("lock")).unwrap();
    bench.succeed(&out, &["--resume", "--steps", "2"]);
}

#[test]
fn a_run_without_a_node_trains_the_same() {
    let bench = Bench::new();
    let (with, out) = (bench.out("with"), bench.out("without"));
    bench.succeed(&with, &["--steps", "3"]);
    bench.succeed(&out, &["--steps", "3", "--without", "knn"]);
    assert!(remains(&with).1 == remains(&out).1);
    let steps = |lines: Vec<serde_json::Value>| {
        lines.into_iter().filter(|line| line["event"] == "step").collect::<Vec<_>>()
    };
    let lines = remains(&out).0;
    assert_eq!((lines.len(), steps(lines)), (3, steps(remains(&with).0)));
    let graph = std::fs::read_to_string(out.join("graph.ron")).unwrap();
    assert!(!graph.contains("knn") && !graph.contains("Knn"), "{graph}");
}

#[test]
fn pictures_that_an_evaluation_leaves_out_are_named() {
    let bench = Bench::new();
    for (i, class) in ["a", "b", "a", "b"].iter().enumerate() {
        let folder = bench.out("val").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        image::RgbImage::new(24, 24).save(folder.join(format!("{i}.png"))).unwrap();
    }
    std::fs::write(bench.out("val").join("a/cut.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let source = |of: &str| format!("knn.{of}=Folder(root: {:?})", bench.out("val"));
    let (train, val, out) = (source("train"), source("val"), bench.out("left-out"));
    let sets = ["--set", &train, "--set", &val, "--set", "decode.workers=1"];
    let output = bench.finish(&out, &[&sets[..], &["--steps", "2"]].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("2 pictures could not be read and were left out of evaluations"), "{said}");
    let named = |steps: &[u64]| {
        let text = std::fs::read_to_string(out.join("rejected.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
        assert_eq!(found, steps, "{text}");
        assert!(lines.iter().all(|line| line["name"].as_str().unwrap().ends_with("cut.png")));
    };
    // before the first step and after the last
    named(&[0, 0, 2, 2]);
    // what the checkpoint has seen stays, and the end of the new steps sees them again
    assert!(bench.finish(&out, &[&sets[..], &["--resume", "--steps", "4"]].concat()).status.success());
    named(&[0, 0, 2, 2, 4, 4]);
    let strict = [&sets[..], &["--overwrite", "--set", "decode.strict=true"]].concat();
    let output = bench.finish(&out, &strict);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && text.contains("cut.png"), "{text}");
    assert!(text.contains("knn, step 0"), "{text}");
}

/// What `dinoflow check` says when asked for an instruction set: status, standard output, standard error.
fn checked(bench: &Bench, isa: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoflow"));
    command.env("DINOFLOW_ISA", isa).arg("check").arg(bench.out("short.ron"));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn instructions_are_chosen_for_the_whole_program() {
    let bench = Bench::new();
    let check = |isa: &str, status: i32, said: &str| {
        let (found, out, err) = checked(&bench, isa);
        assert_eq!(found, Some(status), "{isa}: {err}");
        assert!(out.contains(said) || err.contains(said), "{isa}: {out}{err}");
    };
    check("sse9", 2, "DINOFLOW_ISA=sse9: no such instruction set; expected portable, avx2");
    // 16-bit products are for processors that have them
    check("portable", 0, "F32 on");
    for isa in ["avx2", "avx512", "avx512bf16"] {
        let precision = if isa == "avx512bf16" { "Bf16 on" } else { "F32 on" };
        match dinoflow::kernels::cpu::Isa::available().any(|own| own.word() == isa) {
            true => check(isa, 0, precision),
            false => check(isa, 2, "this processor has not got it"),
        }
    }
}

#[test]
fn decode_crops_and_training_overlap_in_the_trace() {
    let bench = Bench::new();
    let trace = bench.out("trace.json");
    // files that take a while to decode: a drawn picture needs none
    let mut draws = Key::new(3).named("noise").draws();
    for i in 0..30 {
        let noise = image::RgbImage::from_fn(300, 300, |_, _| image::Rgb([draws.bits() as u8; 3]));
        noise.save(bench.out(&format!("{i:02}.png"))).unwrap();
    }
    let swap = format!("source=Folder(root: {:?})", bench.folder.path());
    bench.succeed(&bench.out("traced"), &["--trace", trace.to_str().unwrap(), "--swap", &swap]);
    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(trace).unwrap()).unwrap();
    let spans = |name: &'static str| {
        let events = trace["traceEvents"].as_array().unwrap().iter();
        let named = events.filter(move |event| event["ph"] == "X" && event["name"] == name);
        named.map(|e| (e["ts"].as_f64().unwrap(), e["ts"].as_f64().unwrap() + e["dur"].as_f64().unwrap()))
    };
    for host in ["decode", "multi_crop"] {
        let inside =
            |(start, end): &(f64, f64)| spans("student").any(|(from, to)| *start < to && *end > from);
        assert!(spans(host).filter(inside).count() > 0, "{host} never ran while the student did");
    }
}

/// What `dinoflow bench` says of the graph: status, standard output, standard error.
fn timed(bench: &Bench, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoflow"));
    command.current_dir(bench.folder.path()).args(["bench", "short.ron"]).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn timed_steps_are_one_object_and_leave_nothing_behind() {
    let bench = Bench::new();
    let island = ["student", "teacher", "center", "loss", "optimizer", "ema"];
    let host = ["source", "decode", "multi_crop", "collate"];
    let check = |more: &[&str], stages: &[&str], whole: bool| {
        let arguments =
            [&["--json", "--steps", "3", "--warmup", "1", "--set", "precision=F32"], more].concat();
        let (status, out, err) = timed(&bench, &arguments);
        assert_eq!(status, Some(0), "{err}");
        let found: serde_json::Value = serde_json::from_str(&out).unwrap();
        let number = |key: &str| found[key].as_f64().unwrap_or_else(|| panic!("{more:?}: no number {key}"));
        assert_eq!((found["steps"].as_array().unwrap().len(), &found["precision"]), (3, &"F32".into()));
        assert!((number("images_per_second") * number("seconds_per_step") - 4.0).abs() < 1e-6);
        assert!(number("matrix_peak_gflops") == found["matrix_peaks_gflops"]["F32"].as_f64().unwrap());
        let allocated = (number("allocations_per_step"), number("allocated_bytes_per_step"));
        assert!(allocated.0 > 0.0 && allocated.1 > 1000.0, "{more:?}: {allocated:?}");
        assert!(number("threads") >= 1.0 && number("waiting_seconds_per_step") >= 0.0);
        assert!(!cfg!(target_os = "linux") || number("peak_memory_bytes") > 5e6);
        let products = found["products_share"].as_f64();
        assert!(products.is_some() == whole && products.is_none_or(|share| 0.0 < share && share <= 1.0));
        let lines = found["stages"].as_array().unwrap();
        let mut names: Vec<&str> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
        let sum = |key: &str, of: &[&str]| {
            let of = lines.iter().filter(|line| of.contains(&line["name"].as_str().unwrap()));
            of.map(|line| line[key].as_f64().unwrap()).sum::<f64>()
        };
        assert!((sum("flops", &names) - number("flops_per_step")).abs() < 1.0);
        // three steps' medians need not add up to the median step
        assert!(sum("share", &island) < 1.5 && (!whole || sum("share", &island) > 0.2));
        assert!(lines.iter().all(|line| line["seconds"].as_f64().unwrap() > 0.0));
        assert!(lines.iter().all(|line| line["gflops"].is_null() == (line["flops"] == 0.0)));
        names.sort_unstable();
        let mut stages = stages.to_vec();
        stages.sort_unstable();
        assert_eq!(names, stages, "{more:?}");
    };
    check(&[], &[host.as_slice(), &island].concat(), true);
    check(&["--no-data", "--threads", "1"], &island, true);
    // weights are lent by their owners, and gone when these update them
    check(&["--stage", "student,optimizer,ema,teacher"], &["student", "optimizer", "ema", "teacher"], true);
    check(&["--stage", "decode,multi_crop"], &["decode", "multi_crop"], false);
    check(&["--stage", "collate", "--threads", "3"], &["collate"], false);
    let left: Vec<_> = std::fs::read_dir(bench.folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn what_can_not_be_timed_is_refused_with_a_way_out() {
    let bench = Bench::new();
    let check = |arguments: &[&str], said: &str| {
        let (status, out, err) = timed(&bench, arguments);
        assert!((status, out.as_str()) == (Some(2), "") && err.contains(said), "{err}");
    };
    check(&["--stage", "multicrop"], "did you mean `multi_crop`?");
    check(&["--stage", "decode,student"], "not of both");
    check(&["--stage", "decode,collate"], "lead to one of them");
    check(&["--swap", "source=Folder(root: \"none\")", "--no-data"], "--swap 'source=Synthetic(");
    check(&["--steps", "0"], "1..");
}

#[test]
fn an_interrupted_benchmark_tells_what_it_has_seen() {
    let bench = Bench::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoflow"));
    command.arg("bench").arg(bench.out("short.ron")).args(["--json", "--warmup", "0", "--steps", "1000000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // notes on the graph come first; then a line of progress says that a step was timed
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().starts_with("step ")), "no steps were timed");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!found["steps"].as_array().unwrap().is_empty());
}

/// Every loss and every way to targets, in the place of the graph's own, with the whole batch at once where it must be.
const SWAPS: [&[&str]; 7] = [
    &["--swap", "loss=InfoNce(queue: 12)"],
    &["--swap", "loss=MeanSquaredError()"],
    &["--swap", "loss=SwappedPrediction()", "--set", "micro_batch=4"],
    &["--swap", "loss=CrossEntropy(koleo: 0.1)", "--set", "micro_batch=4"],
    &["--swap", "center=SinkhornKnopp()"],
    &["--swap", "center=BatchSoftmax()"],
    &["--swap", "center=Uncentered()"],
];

#[test]
fn a_resumed_run_of_every_loss_and_center_ends_with_the_same_bits() {
    let bench = Bench::new();
    for (index, swap) in SWAPS.iter().enumerate() {
        let (whole, parts) = (bench.out(&format!("whole-{index}")), bench.out(&format!("parts-{index}")));
        let run = |out: &Path, more: &[&str]| bench.succeed(out, &[swap, more].concat());
        run(&whole, &["--steps", "7"]);
        run(&parts, &["--steps", "3"]);
        run(&parts, &["--steps", "7", "--resume", "--sequential"]);
        // the first part evaluates at its own end, which the whole does not know
        let of_steps = |out: &Path| {
            let (mut lines, files) = remains(out);
            lines.retain(|line| line["event"] == "step");
            (lines, files)
        };
        let (expected, found) = (of_steps(&whole), of_steps(&parts));
        assert_eq!(found.0, expected.0, "{swap:?}");
        assert!(found.1 == expected.1, "{swap:?}: other weights or state");
        let diverges = expected.0.iter().any(|line| line["kl"].is_number());
        let crosses = !swap[1].starts_with("loss=") || swap[1].contains("CrossEntropy");
        assert_eq!(diverges, crosses, "{swap:?}: a divergence where there is one");
    }
}

#[test]
fn every_loss_trains_on_any_number_of_crops() {
    let bench = Bench::new();
    for (global, local) in [("1", "2"), ("3", "0"), ("3", "2")] {
        for loss in
            ["CrossEntropy(koleo: 0.1)", "MeanSquaredError()", "InfoNce(queue: 12)", "SwappedPrediction()"]
        {
            let out = bench.out(&format!("{global}-{local}-{loss}"));
            let swap = format!("loss={loss}");
            let (global, local) =
                (format!("multi_crop.global_crops={global}"), format!("multi_crop.local_crops={local}"));
            let sets = ["--set", &global, "--set", &local, "--set", "micro_batch=4"];
            bench.succeed(&out, &[&["--steps", "2", "--swap", &swap], &sets[..]].concat());
            let steps = remains(&out).0.into_iter().filter(|line| line["event"] == "step");
            let losses: Vec<f64> = steps.map(|line| line["loss"].as_f64().unwrap()).collect();
            assert!(losses.len() == 2 && losses[0] != losses[1], "{swap}, {global}, {local}: {losses:?}");
        }
    }
}
