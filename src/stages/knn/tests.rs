//! Evaluations of pictures that are not all as they should be.

use dfdx::prelude::Cpu;

use super::*;
use crate::graph::load::{Request, load_text};
use crate::kernels::Products;
use crate::nn::architectures;
use crate::optim::schedule::Horizon;

/// The quickstart with these edits.
fn graph(sets: &[&str]) -> GraphSpec {
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    let request = Request { graph: "graphs/quickstart.ron".into(), sets, ..Request::default() };
    let loaded = load_text(include_str!("../../../graphs/quickstart.ron"), &request);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.spec.unwrap()
}

/// Its evaluation on the CPU.
fn running(sets: &[&str], rejections: &Arc<Rejections>) -> Running<Cpu> {
    on(&Cpu::default(), sets, rejections)
}

/// Its evaluation.
fn on<D: Kernels>(device: &D, sets: &[&str], rejections: &Arc<Rejections>) -> Running<D> {
    let graph = graph(sets);
    let StageSpec::Knn(stage) = &graph.nodes["knn"].stage else { panic!("knn is no Knn") };
    Running::new(stage, &graph, rejections.clone(), Default::default(), device).unwrap()
}

#[test]
fn pictures_are_decoded_and_normalised_as_the_graphs_own_are() {
    let check = |sets: &[&str], expected: fn(&mut View)| {
        let view = |sets: &[&str]| running(sets, &Arc::default()).view;
        let mut wanted = view(&[]);
        expected(&mut wanted);
        assert_eq!(view(sets), wanted, "{sets:?}");
    };
    check(&["collate.mean=(0.1, 0.2, 0.3)"], |view| view.mean = [0.1, 0.2, 0.3]);
    check(&["decode.exif_orientation=false"], |view| view.decode.orient = false);
    check(&["decode.max_pixels=1000"], |view| view.decode.max_pixels = 1000);
    check(&[], |view| view.decode.max_pixels = 200_000_000);
}

/// Two classes of three pictures each, 40 pixels wide; the first is as high as asked for, the last file is cut short.
fn pictures(folder: &std::path::Path, high: u32) {
    for class in ["cat", "dog"] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        let file = |name: &str| folder.join(class).join(name);
        for (name, high) in [("a.png", high), ("b.png", 40)] {
            image::RgbImage::from_pixel(40, high, image::Rgb([9, 99, 199])).save(file(name)).unwrap();
        }
        std::fs::write(file("c.png"), &std::fs::read(file("b.png")).unwrap()[..40]).unwrap();
    }
}

/// What an evaluation by raw pixels comes to, and the lines that it leaves in `rejected.jsonl`.
fn judged(more: &[&str]) -> (Result<usize, String>, Vec<serde_json::Value>) {
    let at = tempfile::tempdir().unwrap();
    pictures(&at.path().join("train"), 40);
    pictures(&at.path().join("val"), 50);
    let source = |name: &str| format!("knn.{name}=Folder(root: {:?})", at.path().join(name));
    let (train, val) = (source("train"), source("val"));
    let sets = [&[train.as_str(), &val, "knn.k=[1]"], more].concat();
    let rejections = Arc::default();
    let mut stage = running(&sets, &rejections);
    let mut events = Vec::new();
    let moment =
        Moment { step: 0, micro: 0, micros: 1, horizon: Horizon { steps_per_epoch: 1, total_steps: 1 } };
    let mut outputs = Outputs { values: &mut [], wanted: &[], metrics: &mut Vec::new(), events: &mut events };
    let fired = stage.fire(&moment, &mut Inputs { values: &[] }, &mut outputs).map_err(|e| e.to_string());
    let log = at.path().join("rejected.jsonl");
    rejections.append_left_out(&log).unwrap();
    let lines = std::fs::read_to_string(log).unwrap_or_default();
    (fired.map(|()| events.len()), lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn pictures_that_can_not_be_read_are_named_once() {
    let (events, lines) = judged(&[]);
    assert_eq!(events, Ok(1));
    let word = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().to_owned();
    let sources: Vec<String> = lines.iter().map(|line| word(line, "source")).collect();
    assert_eq!(sources, ["train", "train", "val", "val"]);
    for line in &lines {
        assert_eq!((word(line, "event").as_str(), line["step"].as_u64()), ("knn", Some(0)));
        assert!(word(line, "name").ends_with("c.png") && word(line, "reason").contains("PNG"), "{line}");
    }
}

#[test]
fn a_strict_graph_stops_at_the_first_and_names_it() {
    let (events, lines) = judged(&["decode.strict=true"]);
    let text = events.unwrap_err();
    assert!(text.contains("c.png") && text.contains("`strict` is set") && lines.is_empty(), "{text}");
}

#[test]
fn pictures_over_the_graphs_limit_are_no_pictures() {
    let (_, lines) = judged(&["decode.max_pixels=1600"]);
    let large = lines.iter().filter(|line| line["reason"].as_str().unwrap().contains("max_pixels"));
    assert_eq!((large.count(), lines.len()), (2, 6));
    let (events, _) = judged(&["decode.max_pixels=1599"]);
    assert!(events.unwrap_err().contains("no other picture can be used either"));
}

/// The lines of an evaluation of a network with weights of a seed.
fn of_network<D: Kernels>(device: &D) -> Vec<serde_json::Value> {
    let sets = [
        "network.backbone=VitMicro(patch: 8, image: 16, stem: Patch)",
        "knn.train=Synthetic(count: 23, size: 16, classes: 3)",
        "knn.val=Synthetic(count: 10, size: 16, classes: 3, split: Val)",
        "knn.k=[1, 5, 20]",
        "knn.resize=16",
        "knn.batch=9",
    ];
    let mut stage = on(device, &sets, &Arc::default());
    let weights = architectures::build(device, &graph(&sets).network, Products::F32, 1).unwrap();
    let (mut events, inputs) = (Vec::new(), [None, Some(Value::Weights(weights))]);
    let horizon = Horizon { steps_per_epoch: 1, total_steps: 9 };
    let moment = Moment { step: 5, micro: 0, micros: 1, horizon };
    let mut outputs = Outputs { values: &mut [], wanted: &[], metrics: &mut Vec::new(), events: &mut events };
    stage.fire(&moment, &mut Inputs { values: &inputs }, &mut outputs).unwrap();
    events.into_iter().map(|event| serde_json::Value::Object(event.fields)).collect()
}

#[test]
fn a_network_is_judged_where_it_lives() {
    let lines = of_network(&Cpu::default());
    assert_eq!(lines.len(), 3);
    for (line, k) in lines.iter().zip([1, 5, 20]) {
        assert_eq!((line["network"].as_str(), line["k"].as_u64()), (Some("teacher"), Some(k)));
        assert!(line["top1"].as_f64().unwrap() <= line["top5"].as_f64().unwrap(), "{line}");
    }
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::kernels::cuda::probe::device() {
        assert_eq!(of_network(&gpu), lines);
    }
}
