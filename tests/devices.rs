//! What a graph gets that asks for a GPU, as its user meets it: on the stand-in for the driver, whose environment says what is there.
#![cfg(feature = "cuda")]

use dinoflow::kernels::{NeighbourKernels, cuda};
use dinoflow::tensor::{Batched, Device};
use std::path::Path;
use std::process::{Command, Output};

/// The program on a machine whose driver is as these variables say; nothing where it is a real one, which heeds none.
fn dinoflow(driver: &[(&str, &str)], arguments: &[&str]) -> Option<Output> {
    if std::env::var_os("DINOFLOW_CUDA_STANDIN").is_none_or(|folder| folder.is_empty()) {
        eprintln!("skipped: this program is not linked with the stand-in for the driver");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoflow"));
    command.args(arguments).envs([("STANDIN_DEVICES", "1")]).envs(driver.iter().copied());
    Some(command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap())
}

/// A run that is small enough for the stand-in.
fn run(driver: &[(&str, &str)], out: &Path, more: &[&str]) -> Option<Output> {
    let out = out.display().to_string();
    let small = [
        "--set",
        "global_batch=4",
        "--set",
        "knn.train.count=16",
        "--set",
        "knn.val.count=8",
        "--set",
        "knn.k=[1]",
    ];
    dinoflow(driver, &[&["run", "graphs/quickstart.ron", "--out", &out], &small[..], more].concat())
}

fn words(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// The losses of a run's steps.
fn losses_of(run: &Path) -> Vec<f64> {
    let record = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = record.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == "step").map(|line| line["loss"].as_f64().unwrap()).collect()
}

#[test]
fn cuda_that_is_not_there_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    for (driver, device, said) in [
        (&[("STANDIN_DEVICES", "0")][..], "cuda", "there is no NVIDIA GPU that the driver shows"),
        (&[], "cuda:3", "there is no GPU 3: the driver shows one, number 0"),
        (&[("STANDIN_LIBRARY", "13000")], "cuda", "a newer driver is needed"),
        (&[("STANDIN_MEMORY", "700000000")], "cuda", "this GPU has too little memory"),
    ] {
        let Some(output) = run(driver, &folder.path().join("run"), &["--steps", "1", "--device", device])
        else {
            return;
        };
        let text = words(&output);
        assert_eq!(output.status.code(), Some(2), "{device} with {driver:?}: {text}");
        assert!(text.contains(said), "{device} with {driver:?}: {text}");
        assert!(!folder.path().join("run").exists(), "nothing was begun");
    }
}

#[test]
fn cuda_is_taken_where_it_is_and_a_run_goes_on_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let Some(begun) = run(&[], &out, &["--steps", "2", "--set", "precision=F32"]) else { return };
    assert!(begun.status.success() && words(&begun).contains("memory on cuda:0"), "{}", words(&begun));
    let graph = std::fs::read_to_string(out.join("graph.ron")).unwrap();
    assert!(!graph.contains("Cuda"), "the folder's graph says what was asked for: {graph}");
    let timings: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("timings.json")).unwrap()).unwrap();
    assert_eq!(timings["environment"]["device"], "cuda:0, stand-in", "the report says what it ran on");
    let rest = ["--steps", "3", "--resume", "--set", "precision=F32"];
    let gone_on = run(&[("STANDIN_DEVICES", "0")], &out, &rest).unwrap();
    assert!(gone_on.status.success() && !words(&gone_on).contains("cuda"), "{}", words(&gone_on));
    let losses = losses_of(&out);
    // crops cut by the processor are the same
    let host = folder.path().join("host");
    run(&[], &host, &["--steps", "2", "--set", "precision=F32", "--set", "multi_crop.cut_on=Host"]).unwrap();
    assert_eq!(losses_of(&host), losses[..2], "crops of another place");
    // the same three steps by the processor alone
    let alone = folder.path().join("alone");
    run(&[("STANDIN_DEVICES", "0")], &alone, &["--steps", "3", "--set", "precision=F32"]).unwrap();
    assert_near(&losses, &losses_of(&alone));
}

/// Pictures that were copied once serve all steps.
#[test]
fn cuda_steps_are_timed_without_their_data() {
    let graph = ["bench", "graphs/quickstart.ron", "--device", "cuda", "--no-data", "--json"];
    let few = ["--set", "global_batch=4", "--steps", "2", "--warmup", "1", "--without", "knn"];
    let Some(timed) = dinoflow(&[], &[&graph[..], &few].concat()) else { return };
    assert!(timed.status.success(), "{}", words(&timed));
    let found: serde_json::Value = serde_json::from_slice(&timed.stdout).unwrap();
    assert!(found["images_per_second"].as_f64() > Some(0.0) && found["peak_memory_bytes"].as_u64() > Some(0));
}

#[test]
fn cuda_trains_a_residual_network_as_the_processor_does() {
    let folder = tempfile::tempdir().unwrap();
    let network = ["--set", "network.backbone=ResNet18(stem: Small)", "--without", "attention"];
    let options = [&["--steps", "2", "--set", "precision=F32"], &network[..]].concat();
    let [found, expected] = ["1", "0"].map(|devices| {
        let out = folder.path().join(devices);
        let ended = run(&[("STANDIN_DEVICES", devices)], &out, &options)?;
        assert!(ended.status.success(), "{}", words(&ended));
        Some(losses_of(&out))
    });
    if let (Some(found), Some(expected)) = (found, expected) {
        assert_near(&found, &expected);
    }
}

/// Holds the losses of steps on a GPU against the processor's.
#[track_caller]
fn assert_near(found: &[f64], expected: &[f64]) {
    assert!(found.len() == expected.len() && found.len() > 1, "steps: {found:?}, not {expected:?}");
    for (one, other) in found.iter().zip(expected) {
        assert!((one / other - 1.0).abs() < 1e-4, "{found:?}, not {expected:?}");
    }
}

/// In a process of its own kind: the switch is for all that the process multiplies.
#[test]
fn cuda_neighbours_are_told_apart_in_exact_products_whatever_is_allowed() {
    let device = match cuda::open(0) {
        Ok(device) => device,
        // where one is to be there, nothing is skipped
        Err(why) if std::env::var_os("DINOFLOW_NEEDS_GPU").is_some() => panic!("there is no GPU: {why}"),
        Err(why) => return eprintln!("skipped, for want of a GPU: {why}"),
    };
    let (dim, rows) = (40, 50);
    // rows of unit length that differ in what 10 bits of mantissa don't hold
    let angle = |row: usize| 0.5 + 1e-5 * row as f32;
    let bank: Vec<f32> = (0..rows)
        .flat_map(|row| {
            let mut numbers = vec![0.0; dim];
            (numbers[0], numbers[1]) = (angle(row).cos(), angle(row).sin());
            numbers
        })
        .collect();
    let tensor = |values: &[f32]| {
        Batched::from_host(&device, values.to_vec(), vec![values.len() / dim, dim], Some(0)).unwrap()
    };
    let (queries, bank) = (tensor(&bank[49 * dim..]), tensor(&bank));
    device.allow_tf32(true);
    let found = device.nearest(dim, 3, 0..1, queries.view(), rows, bank.view()).unwrap();
    device.allow_tf32(false);
    let similarity = |row: usize| (angle(49) - angle(row)).cos();
    for (similar, row) in &found[0] {
        assert!((similar - similarity(*row as usize)).abs() < 1e-6, "{found:?}");
    }
}
