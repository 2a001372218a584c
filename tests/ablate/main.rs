//! A small ablation with the program itself: variants that train, collapse and fail, side by side.
#![cfg(unix)]

#[path = "../browser/mod.rs"]
mod browser;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dinoflow::ablate::Ablation;
use dinoflow::ablate::variant::Refused;
use dinoflow::stages::Registry;

const ABLATION: &str = r#"(
    title: "What holds it up",
    graph: "small.ron",
    set: ["duration=Steps(150)"],
    seeds: [0, 1],
    variants: [
        (name: "as it is", published: "72.8 / 76.1", expect: Trains),
        (name: "no sharpening", set: ["center.temperature=Constant(1)"], expect: Collapses(ToUniform)),
        (name: "no pictures", swap: ["source=Folder(root: \"absent\")"], expect: Trains),
    ],
)"#;

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("small.ron"), include_str!("../graphs/small.ron")).unwrap();
        std::fs::write(folder.path().join("holds.ron"), ABLATION).unwrap();
        Bench { folder }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoflow"));
        command.current_dir(self.folder.path()).args(["ablate", "holds.ron", "--out", "out"]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    fn steps(&self, run: &str) -> usize {
        let text = std::fs::read_to_string(self.out(run).join("metrics.jsonl")).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"event\":\"step\"")).count()
    }
}

#[test]
fn every_variant_is_run_and_reported_on() {
    let bench = Bench::new();
    let (status, said, errors) = bench.run(&[]);
    // the variants without pictures fail, the others run all the same
    assert_eq!(status, Some(1), "{said}{errors}");
    assert!(errors.contains("2 runs failed"), "{errors}");
    let lines = [
        "as it is: trains · published 72.8 / 76.1 · as expected",
        "no sharpening: collapses to uniform, since step",
        "no pictures: fails: source: absent",
    ];
    let markdown = std::fs::read_to_string(bench.out("report.md")).unwrap();
    for line in lines {
        assert!(said.contains(line), "{line} in {said}");
        let (name, rest) = line.split_once(": ").unwrap();
        assert!(markdown.contains(&format!("- **{name}**: {rest}")), "{line} in {markdown}");
    }
    assert!(markdown.contains("- `center: temperature: Constant(0.02) → Constant(1.0)`"), "{markdown}");
    let page = std::fs::read_to_string(bench.out("report.html")).unwrap();
    // pictures of loss, entropy and KL for each variant that ran, none of k-NN, which the graph has not
    assert_eq!(page.matches("<svg").count(), 6, "curves");
    for (found, word) in [
        (true, "no sharpening"),
        (true, "Remedy"),
        (false, "<script"),
        (false, "src=\"http"),
        (false, "href="),
    ] {
        assert_eq!(page.contains(word), found, "{word}");
    }
    assert_eq!((bench.steps("as it is/seed-0"), bench.steps("as it is/seed-1")), (150, 150));
    assert!(bench.steps("no sharpening/seed-1") < 150);

    check_page(&bench.out("report.html"));

    // what is finished stays as it is, and what failed is tried again
    let before = std::fs::metadata(bench.out("as it is/seed-0/metrics.jsonl")).unwrap().modified().unwrap();
    let (_, _, errors) = bench.run(&["--resume"]);
    assert_eq!(errors.matches("finished before").count(), 4, "{errors}");
    assert_eq!(
        std::fs::metadata(bench.out("as it is/seed-0/metrics.jsonl")).unwrap().modified().unwrap(),
        before
    );
    let (status, _, errors) = bench.run(&[]);
    assert!(status == Some(2) && errors.contains("--resume goes on"), "{errors}");
    std::fs::write(bench.folder.path().join("holds.ron"), ABLATION.replace("Steps(150)", "Steps(160)"))
        .unwrap();
    let (status, _, errors) = bench.run(&["--resume"]);
    assert!(status == Some(2) && errors.contains("another graph"), "{errors}");
}

/// A person sees at once which variant trained, which collapsed and which failed, with its curves; and the page asks for nothing that
/// is not in it.
fn check_page(page: &Path) {
    let shown = browser::open(page, (1200, 1400));
    assert!(shown.console.is_empty(), "{:?}", shown.console);
    assert!(shown.document.contains("What holds it up") && shown.document.contains("as expected"));
    let (blue, green, red) = ([0x25, 0x63, 0xeb], [0x15, 0x80, 0x3d], [0xb9, 0x1c, 0x1c]);
    for (color, what, least) in
        [(blue, "curves", 1e-3), (green, "what trained", 1e-4), (red, "what did not", 1e-4)]
    {
        assert!(shown.share(color) > least, "{what}: {}", shown.share(color));
    }
    assert!(shown.share([0xff; 3]) > 0.3, "paper: {}", shown.share([0xff; 3]));

    // such a page would be caught
    let reaching = page.with_file_name("reaching.html");
    let text = std::fs::read_to_string(page).unwrap();
    std::fs::write(&reaching, text.replace("<h1>", r#"<img src="http://127.0.0.1:9/a.png"><h1>"#)).unwrap();
    let console = browser::open(&reaching, (400, 300)).console;
    assert!(console.iter().any(|line| line.contains("Content Security Policy")), "{console:?}");
}

#[test]
fn a_signal_stops_all_and_a_resume_goes_on() {
    let bench = Bench::new();
    let mut child = bench.command(&["--only", "as it is"]).spawn().unwrap();
    let start = Instant::now();
    while bench.steps("as it is/seed-0") < 20 {
        assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(bench.steps("as it is/seed-0") < 150 && !bench.out("as it is/seed-1").exists());
    assert!(std::fs::read_to_string(bench.out("report.md")).unwrap().contains("**as it is**: not finished"));
    let (status, said, errors) = bench.run(&["--resume", "--only", "as it is"]);
    assert_eq!(status, Some(0), "{errors}");
    assert!(said.contains("as it is: trains") && said.contains("no sharpening: not finished"), "{said}");
    assert_eq!((bench.steps("as it is/seed-0"), bench.steps("as it is/seed-1")), (150, 150));
}

#[test]
fn the_ablations_that_come_along_can_run() {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir("graphs/ablations").unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_stem().is_some_and(|stem| stem != "small"));
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        let name = path.display();
        let refused = |refused: &Vec<Refused>| -> Vec<String> {
            refused.iter().map(|one| format!("{}: {:#?}", one.variant, one.problems)).collect()
        };
        let ablation = Ablation::read(&path, &Registry::default(), Default::default()).unwrap();
        let ablation = ablation.unwrap_or_else(|all| panic!("{name}: {}", refused(&all).join("\n")));
        assert!(ablation.variants.len() >= 4, "{name}");
    }
}

#[test]
fn all_variants_are_checked_before_the_first_runs() {
    let bench = Bench::new();
    let wrong = ABLATION.replace("center.temperature", "center.temperatur").replace("Folder(", "Foldr(");
    std::fs::write(bench.folder.path().join("holds.ron"), wrong).unwrap();
    let (status, _, errors) = bench.run(&[]);
    assert_eq!(status, Some(2), "{errors}");
    for words in [
        "variant `no sharpening`",
        "did you mean `temperature`?",
        "variant `no pictures`",
        "did you mean `Folder`?",
    ] {
        assert!(errors.contains(words), "{words} in {errors}");
    }
    assert!(
        errors.contains("`no sharpening`, `no pictures` can't run; nothing was run")
            && !bench.out("").exists()
    );
    std::fs::write(bench.folder.path().join("holds.ron"), ABLATION).unwrap();
    let (status, _, errors) = bench.run(&["--only", "as it iz"]);
    assert!(status == Some(2) && errors.contains("did you mean `as it is`?"), "{errors}");
}
