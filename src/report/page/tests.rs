//! Pages of folders, whole and in pieces.

use super::*;
use crate::report::tables::Placed;
use crate::report::timings::{Covered, EdgeUse, Ended, Environment, NodeTime, Timings};

const GRAPH: &str = include_str!("../../../graphs/quickstart.ron");

/// A step's line: far from collapse, all the way down.
fn line(step: u64) -> String {
    let loss = 5.0 - step as f64 * 1e-5;
    format!(
        r#"{{"event":"step","step":{step},"epoch":0,"loss":{loss},"lr":0.001,"teacher_entropy":1.0,"batch_entropy":5.0,"kl":{},"grad_norm":1.5,"teacher_momentum":0.99,"images_per_second":700.5}}"#,
        loss - 1.0
    ) + "\n"
}

fn knn(step: u64, top1: f64) -> String {
    format!(r#"{{"event":"knn","step":{step},"network":"teacher","k":20,"top1":{top1},"top5":80.0}}"#) + "\n"
}

fn timings(to: u64, status: u8, failure: Option<&str>) -> Timings {
    let node = |node: &str, place, share_of_wall| NodeTime {
        node: node.into(),
        place,
        threads: 1,
        calls: to,
        total_ms: 100.0,
        mean_ms: 1.5,
        share_of_wall,
        waits_ms: 0.0,
    };
    let edge = EdgeUse {
        from: "collate".into(),
        to: "island".into(),
        capacity: 2,
        values: to,
        mean_occupancy: 0.5,
        max_occupancy: 2,
        producer_waits_ms: 0.0,
        consumer_waits_ms: 400.0,
    };
    Timings {
        ended: Some(Ended { status, failure: failure.map(str::to_owned) }),
        steps: Covered { from: 0, to },
        wall_seconds: 200.0,
        data_wait_share: 0.12,
        nodes: vec![
            node("decode", Placed::Host, 0.9),
            node("student", Placed::Island, 0.3),
            node("student/backward", Placed::Island, 0.4),
        ],
        edges: vec![edge],
        environment: Environment { version: "9.8.7".into(), total_steps: 1280, ..Environment::default() },
        ..Timings::default()
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    /// A run of so many steps, evaluated before and after.
    fn new(steps: u64, timings: Option<Timings>) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        let steps_of = (0..steps).map(line).collect::<String>();
        folder.put("metrics.jsonl", &[knn(0, 30.0), steps_of, knn(steps, 66.5)].concat());
        folder.put("graph.ron", GRAPH);
        if let Some(timings) = timings {
            timings.write(&folder.0.path().join("timings.json")).unwrap();
        }
        folder
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.path().join(name)).unwrap();
    }

    fn page(&self) -> String {
        pages(&[self])
    }
}

fn pages(folders: &[&Folder]) -> String {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("page.html");
    let folders: Vec<PathBuf> = folders.iter().map(|folder| folder.0.path().to_owned()).collect();
    write(&folders, &file, &Registry::default()).unwrap();
    std::fs::read_to_string(&file).unwrap()
}

/// Each of `there` is in the page, and nothing that would reach out of it.
fn holds(page: &str, there: &[&str]) {
    for words in there {
        assert!(page.contains(words), "{words:?} is not in the page");
    }
    for reach in ["src=\"http", "<script", "url(", env!("CARGO_MANIFEST_DIR")] {
        assert!(!page.contains(reach), "{reach:?} is in the page");
    }
}

#[test]
fn a_whole_run_is_told_at_a_glance() {
    let folder = Folder::new(1280, Some(timings(1280, 0, None)));
    let page = folder.page();
    holds(
        &page,
        &[
            "trained: 1280 steps",
            "20-NN of the teacher 66.5 %, against 30.0 % at step 0",
            "healthy: 1280 of 1280 steps",
            "decode keeps the island waiting 12.0 % of the time",
            "collate → island",
            "dinoflow 9.8.7",
            "As <code>graphs/quickstart.ron</code> has it.",
            "3 min 20 s",
            "No pictures",
            "Content-Security-Policy",
        ],
    );
    // loss, entropies, k-NN, KL, gradient, learning rate, momentum, speed
    assert_eq!(page.matches("<svg").count(), 8);
    assert!(!page.contains("class=\"missing\""));
}

#[test]
fn how_a_run_ended_is_said_first() {
    let check = |steps: u64, timings: Option<Timings>, words: &str| {
        holds(&Folder::new(steps, timings).page(), &[words])
    };
    check(40, Some(timings(40, 130, None)), "stopped by SIGINT after 40 of 1280 steps");
    check(40, Some(timings(40, 0, None)), "stopped as asked after 40 of 1280 steps");
    check(
        40,
        Some(timings(40, 1, Some("loss, step 40: &lt;oh&gt;"))),
        "failed after 40 of 1280 steps: loss, step 40",
    );
    check(40, Some(Timings { ended: None, ..timings(40, 0, None) }), "not at its end: 40 of 1280 steps");
    check(0, None, "no steps were recorded");
    let folder = Folder::new(0, Some(timings(60, 3, None)));
    let same = r#""teacher_entropy":5.54,"batch_entropy":5.54,"kl":0.001}"#;
    let lines = (0..60).map(|step| format!("{{\"event\":\"step\",\"step\":{step},\"loss\":5.541,{same}\n"));
    folder.put("metrics.jsonl", &lines.collect::<String>());
    holds(&folder.page(), &["collapsed to uniform, since step 0; 60 of 1280 steps", "likely cause"]);
}

#[test]
fn what_is_missing_is_named_and_the_rest_is_shown() {
    let check = |break_it: fn(&Folder), there: &[&str]| {
        let folder = Folder::new(20, Some(timings(20, 0, None)));
        break_it(&folder);
        holds(&folder.page(), there);
    };
    check(
        |folder| folder.remove("timings.json"),
        &["timings.json is not there: no times of the stages", "data:image/svg+xml"],
    );
    check(|folder| folder.put("timings.json", "{\"st"), &["timings.json can't be read", "<svg"]);
    check(
        |folder| folder.put("metrics.jsonl", &(line(0) + &line(1) + "{\"event\":\"st")),
        &["1 lines of metrics.jsonl are not whole", "2 of 1280 steps"],
    );
    check(
        |folder| folder.remove("graph.ron"),
        &["graph.ron is not there: no graph and no settings", "decode keeps the island waiting"],
    );
    check(
        |folder| folder.put("graph.ron", "(name: \"other\""),
        &["graph.ron is none that this program can run", "<svg"],
    );
    check(
        |folder| folder.remove("metrics.jsonl"),
        &["metrics.jsonl is not there: no curves", "No steps were recorded"],
    );
}

#[test]
fn several_runs_lie_over_each_other_and_differ_by_key() {
    let (one, two) = (Folder::new(30, Some(timings(30, 0, None))), Folder::new(50, None));
    two.put("graph.ron", &GRAPH.replace("lr: 0.002", "lr: 0.25").replace("0.99, to", "0.98, to"));
    let page = pages(&[&one, &two]);
    holds(
        &page,
        &[
            "2 runs",
            "optimizer.lr</code>",
            "<code>0.25</code>",
            "ema.momentum",
            "background: var(--run1)",
            "#2463EB",
            "#D87706",
        ],
    );
    let rows = page.split("settings that differ").nth(1).unwrap().split("</table>").next().unwrap();
    assert_eq!(rows.matches("scope=\"row\"").count(), 2, "{rows}");
    holds(&pages(&[&one, &one]), &["All of them have the same settings."]);
}

#[test]
fn a_long_run_has_a_light_page() {
    let folder = Folder::new(100_000, Some(timings(100_000, 0, None)));
    let page = folder.page();
    holds(&page, &["a point is the mean of 167 steps"]);
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[test]
fn what_is_no_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report.html");
    for (path, words) in [("absent", "no such folder"), ("", "neither graph.ron nor metrics.jsonl")] {
        let error = write(&[folder.path().join(path)], &out, &Registry::default()).unwrap_err();
        assert!(error.exit_status() == 2 && error.to_string().contains(words), "{error}");
        assert!(!out.exists());
    }
}
