//! What a run leaves behind for people, by the program itself, and its page as a browser shows it.

mod browser;

use std::path::{Path, PathBuf};
use std::process::Command;

struct Bench {
    folder: tempfile::TempDir,
}

/// A teacher that is drawn, in a graph of a few seconds.
const ATTENTION: &str =
    r#""attention": (stage: Maps(count: 3, every: Steps(10)), inputs: {"teacher": "ema/weights"}),"#;

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = "\"checkpoint\": (";
        let graph = include_str!("graphs/small.ron").replace(checkpoint, &[ATTENTION, checkpoint].concat());
        std::fs::write(folder.path().join("small.ron"), graph).unwrap();
        Bench { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Exit status, standard output and standard error.
    fn call(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoflow"));
        let output = command.current_dir(self.folder.path()).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn train(&self, out: &str, arguments: &[&str]) {
        let (status, said, errors) = self.call(&[&["run", "small.ron", "--out", out], arguments].concat());
        assert_eq!(status, Some(0), "{said}{errors}");
    }

    /// The files of a run's folder, below it.
    fn files(&self, out: &str) -> Vec<String> {
        let root = self.path(out);
        let files = walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().is_file());
        files.map(|entry| entry.path().strip_prefix(&root).unwrap().display().to_string()).collect()
    }
}

#[test]
fn a_run_leaves_a_page_that_a_browser_shows_whole() {
    let bench = Bench::new();
    bench.train("a", &["--steps", "30"]);
    let page = bench.path("a/report.html");
    let shown = browser::open(&page, (1200, 1600));
    assert!(shown.console.is_empty(), "{:?}", shown.console);
    let sections = ["outcome", "curves", "time", "pictures", "settings", "environment", "files"];
    for section in sections {
        assert!(shown.document.contains(&format!("id=\"{section}\"")), "{section}");
    }
    for words in [
        "stopped as asked after 30 of 600 steps",
        "healthy so far",
        "ms a step",
        "step 20",
        "Where the teacher looks",
    ] {
        assert!(shown.document.contains(words), "{words}");
    }
    let (blue, orange, red) = ([0x25, 0x63, 0xeb], [0xd9, 0x77, 0x06], [0xb9, 0x1c, 0x1c]);
    assert!(shown.share(blue) > 1e-3 && shown.share(orange) > 1e-4 && shown.share([0xff; 3]) > 0.3);
    assert!(shown.share(red) < 0.01);
    // narrow as a telephone, nothing hangs out of the page: its right edge is paper
    let narrow = browser::open(&page, (400, 1600)).picture;
    let right =
        (0..narrow.height()).filter(|y| narrow.get_pixel(narrow.width() - 3, *y).0 == [0xff; 3]).count();
    assert!(right as f64 > 0.98 * f64::from(narrow.height()), "{right} of {}", narrow.height());

    // such a page would be caught
    let reaching = page.with_file_name("reaching.html");
    let text = std::fs::read_to_string(&page).unwrap();
    std::fs::write(&reaching, text.replace("<h1>", r#"<img src="http://127.0.0.1:9/a.png"><h1>"#)).unwrap();
    let console = browser::open(&reaching, (400, 300)).console;
    assert!(console.iter().any(|line| line.contains("Content Security Policy")), "{console:?}");
}

#[test]
fn a_resumed_run_has_each_picture_and_epoch_once() {
    let bench = Bench::new();
    let logs = ["--logs", "tensorboard,log.txt"];
    bench.train("whole", &[&["--steps", "24"][..], &logs].concat());
    bench.train("parts", &[&["--steps", "20"][..], &logs].concat());
    // as a run that was killed after its last checkpoint leaves it
    std::fs::write(bench.path("parts/pictures/attention-step-00000023.png"), "half").unwrap();
    bench.train("parts", &["--steps", "24", "--resume"]);
    let pictures = |out: &str| {
        let named = |name: &String| name.starts_with("pictures/");
        let files = bench.files(out).into_iter().filter(named);
        files.map(|name| (std::fs::read(bench.path(out).join(&name)).unwrap(), name)).collect::<Vec<_>>()
    };
    let names: Vec<String> = pictures("whole").into_iter().map(|(_, name)| name).collect();
    let step = |step: u64| format!("pictures/attention-step-{step:08}.png");
    assert_eq!(names, [step(0), step(10), step(20), step(24), "pictures/crops.png".into()]);
    // the end of the first life drew its own picture, at a step that is due anyway
    assert!(pictures("whole") == pictures("parts"));
    let log = |out: &str| std::fs::read_to_string(bench.path(out).join("log.txt")).unwrap();
    assert_eq!(log("whole"), log("parts"));
    assert_eq!(log("whole").lines().count(), 3, "epochs of eight steps");
    let events = |out: &str| bench.files(out).iter().filter(|name| name.starts_with("tensorboard/")).count();
    assert_eq!((events("whole"), events("parts")), (1, 2));
}

#[test]
fn logs_are_asked_for_and_overwriting_leaves_what_is_not_the_runs() {
    let bench = Bench::new();
    bench.train("a", &["--steps", "8", "--logs", "none"]);
    assert!(bench.files("a").iter().all(|name| !name.starts_with("tensorboard") && name != "log.txt"));
    bench.train("a", &["--steps", "8", "--overwrite", "--logs", "tensorboard,log.txt"]);
    let mine = ["pictures/mine.png", "tensorboard/events.out.tfevents.1.other"]
        .map(|name| bench.path("a").join(name));
    mine.iter().for_each(|path| std::fs::write(path, "mine").unwrap());
    bench.train("a", &["--steps", "1", "--overwrite", "--logs", "none", "--without", "attention"]);
    let left = bench.files("a");
    assert!(mine.iter().all(|path| std::fs::read_to_string(path).unwrap() == "mine"));
    for (name, there) in
        [("log.txt", false), ("pictures/crops.png", true), ("pictures/attention-step-00000000.png", false)]
    {
        assert_eq!(left.contains(&name.to_owned()), there, "{name} in {left:?}");
    }
    let (status, _, errors) = bench.call(&["run", "small.ron", "--logs", "paper"]);
    assert!(status == Some(2) && errors.contains("tensorboard, log.txt, none"), "{errors}");
}

#[test]
fn a_run_that_fails_leaves_its_page_and_its_account() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("photos")).unwrap();
    for index in 0..16 {
        let path = bench.path("photos").join(format!("{index}.png"));
        image::RgbImage::from_pixel(20, 20, image::Rgb([index, 99, 199])).save(&path).unwrap();
    }
    std::fs::write(bench.path("photos/cut.png"), &std::fs::read(bench.path("photos/3.png")).unwrap()[..40])
        .unwrap();
    let strict = ["--swap", "source=Folder(root: \"photos\")", "--set", "decode.strict=true"];
    let (status, _, errors) = bench.call(&[&["run", "small.ron", "--out", "a"][..], &strict].concat());
    assert!(status == Some(2) && errors.contains("cut.png"), "{errors}");
    let page = std::fs::read_to_string(bench.path("a/report.html")).unwrap();
    let timings: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path("a/timings.json")).unwrap()).unwrap();
    let failure = timings["ended"]["failure"].as_str().unwrap_or_default();
    assert!(timings["ended"]["status"] == 2 && failure.contains("cut.png"), "{timings}");
    assert!(page.contains("failed after") && page.contains("cut.png"), "{failure}");
    assert!(timings["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty()), "{timings}");
}

#[test]
fn pages_are_made_of_any_runs_and_wrong_requests_are_refused() {
    let bench = Bench::new();
    bench.train("a", &["--steps", "12"]);
    bench.train("b", &["--steps", "12", "--set", "optimizer.lr=0.001", "--without", "attention"]);
    let (status, said, errors) = bench.call(&["report", "a", "b", "-o", "both.html"]);
    assert_eq!((status, said.as_str()), (Some(0), "both.html\n"), "{errors}");
    let page = std::fs::read_to_string(bench.path("both.html")).unwrap();
    assert!(page.contains("a, b") && page.contains("optimizer.lr") && page.contains("attention.count"));
    let shown = browser::open(&bench.path("both.html"), (1200, 1600));
    assert!(shown.console.is_empty() && shown.share([0x24, 0x63, 0xeb]) > 1e-4, "{:?}", shown.console);

    std::fs::remove_file(bench.path("a/report.html")).unwrap();
    let (status, said, _) = bench.call(&["report", "a"]);
    assert_eq!((status, Path::new(said.trim())), (Some(0), Path::new("a/report.html")));
    let check = |arguments: &[&str], words: &str| {
        let (status, _, errors) = bench.call(arguments);
        assert!(status == Some(2) && errors.contains(words), "{arguments:?}: {errors}");
    };
    check(&["report"], "RUN");
    check(&["report", "absent"], "no such folder; expected a run's");
    check(&["report", "a/checkpoints"], "neither graph.ron nor metrics.jsonl");
    check(&["report", "a", "-o", "absent/page.html"], "expected a file's path in a folder that exists");
    check(&["report", "a", "-o", "b"], "expected a file's path in a folder that exists");
}
