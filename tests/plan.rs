//! Plans of the graphs that come along, the edits that reach them, and their presets.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use dinoflow::graph::load::{Request, load, load_text};
use dinoflow::graph::origin::Origins;
use dinoflow::graph::parse::parse;
use dinoflow::graph::preset::{BUILT_IN, folder};
use dinoflow::graph::read::read;
use dinoflow::graph::spec::GraphSpec;
use dinoflow::graph::tree::Tree;
use dinoflow::graph::write::{extensions, to_ron};
use dinoflow::plan::explain::{dot, json, mermaid, picture, svg, text};
use dinoflow::plan::{Conversion, EdgeKind, Plan, actors, build};
use dinoflow::stages::{EdgeType, Ports, Registry, StageSpec};

const GRAPHS: [&str; 7] = ["quickstart", "cifar10", "vits16", "vits8", "vitb16", "vitb8", "resnet50"];

fn plan_of(graph: &str, sets: &[&str]) -> Plan {
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    let request = Request { graph: format!("graphs/{graph}.ron").into(), sets, ..Request::default() };
    let loaded = load(&request).unwrap();
    match build::plan(&loaded, &Registry::default()) {
        Ok((plan, _)) => plan,
        Err(problems) => panic!("{graph}:\n{}", dinoflow::graph::report::text(&problems, &loaded.origins)),
    }
}

fn phases(plan: &Plan) -> Vec<String> {
    let word = |actor: &dinoflow::plan::Actor| actors::word(&plan.nodes[actor.node.0].name, actor.direction);
    let phase = |phase: &dinoflow::plan::Phase| {
        let actors: Vec<String> = phase.actors.iter().map(word).collect();
        format!("{:?}: {}", phase.rate, actors.join(", "))
    };
    plan.phases.iter().map(phase).collect()
}

#[test]
fn a_step_has_the_papers_order() {
    for graph in GRAPHS {
        let plan = plan_of(graph, &[]);
        let expected = [
            "Micro: teacher",
            "Step: center",
            "Micro: student, loss, loss/backward, student/backward",
            "Step: optimizer, ema",
        ];
        assert_eq!(phases(&plan), expected, "{graph}");
        let names = |nodes: &[dinoflow::plan::NodeId]| {
            nodes.iter().map(|node| plan.nodes[node.0].name.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&plan.host), "source decode multi_crop collate");
        // a residual network does not attend
        let barrier = if graph == "resnet50" { "knn checkpoint" } else { "knn attention checkpoint" };
        assert_eq!(names(&plan.barrier), barrier);
    }
}

#[test]
fn values_cross_between_micro_batches_and_the_step() {
    let plan = plan_of("vits16", &["global_batch=8", "micro_batch=2"]);
    assert_eq!((plan.batch.micros(), plan.batch.range(1)), (4, 2..4));
    let crossing = |from: &str, to: &str| {
        let named = |node: dinoflow::plan::NodeId| plan.nodes[node.0].name.as_str();
        let edge = plan.edges.iter().find(|e| named(e.from.node) == from && named(e.to.node) == to);
        edge.map(|edge| (edge.kind, edge.conversion, edge.ty.to_string())).unwrap()
    };
    let shape = |text: &str| text.to_owned();
    let crops = shape("(2, 2, 3, 224, 224)");
    assert_eq!(crossing("collate", "teacher"), (EdgeKind::Forward, Conversion::None, crops));
    let logits = shape("(2, 2, 65536)");
    assert_eq!(crossing("teacher", "center"), (EdgeKind::Forward, Conversion::Concat { axis: 1 }, logits));
    let targets = shape("(2, 8, 65536)");
    assert_eq!(crossing("center", "loss"), (EdgeKind::Forward, Conversion::Slice { axis: 1 }, targets));
    let all = shape("(10, 2, 65536)");
    assert_eq!(crossing("loss", "student"), (EdgeKind::Gradient, Conversion::None, all));
    let gradients = shape("gradients");
    assert_eq!(crossing("student", "optimizer"), (EdgeKind::Gradient, Conversion::Sum, gradients));
    let weights = shape("weights");
    assert_eq!(crossing("ema", "teacher"), (EdgeKind::Feedback, Conversion::Hold, weights));
}

#[test]
fn every_input_knows_its_wire() {
    let plan = plan_of("quickstart", &[]);
    for (index, node) in plan.nodes.iter().enumerate() {
        for (port, wired) in node.wired.iter().enumerate() {
            let edge = wired.map(|id| &plan.edges[id.0]);
            let arrives = edge.is_some_and(|edge| (edge.to.node.0, edge.to.port) == (index, port));
            assert!(arrives || node.inputs[port].optional, "{}/{}", node.name, node.inputs[port].name);
        }
        for (port, (ty, edges)) in node.produces.iter().enumerate() {
            for id in edges {
                let edge = &plan.edges[id.0];
                assert_eq!((edge.from.node.0, edge.from.port, &edge.ty), (index, port, ty));
            }
        }
    }
    let trained: Vec<&str> = plan.nodes.iter().filter(|n| n.trained).map(|n| n.name.as_str()).collect();
    assert_eq!(trained, ["student", "loss"]);
}

#[test]
fn the_papers_step_costs_what_was_published_less_what_is_spared() {
    let plan = plan_of("vits16", &[]);
    let student = plan.nodes.iter().find(|node| node.name == "student").unwrap();
    let teacher = plan.nodes.iter().find(|node| node.name == "teacher").unwrap();
    let image = (student.cost.flops + teacher.cost.flops) / 1024.0;
    // 113.4 GFLOP for every block and token; 105.7 with the last block for CLS alone
    assert_eq!((image / 1e8).round(), 1017.0);
    assert_eq!(plan.cost.parameters, 44_017_792);
    assert_eq!(plan.facts(), [("learning rate at its peak".into(), "0.002 = 0.0005 × 1024 / 256".into())]);
    let whole = plan_of("vits16", &["global_batch=64"]).cost.peak_bytes;
    let parts = plan_of("vits16", &["global_batch=64", "micro_batch=8"]).cost.peak_bytes;
    assert!(parts < 0.5 * whole, "{parts} {whole}");
    assert_eq!(plan.cost.flops, plan_of("vits16", &["micro_batch=64"]).cost.flops);
}

#[test]
fn a_stated_size_gives_the_steps() {
    let plan = plan_of("quickstart", &["source.count=1000", "global_batch=64", "duration=Epochs(2)"]);
    assert_eq!((plan.steps_per_epoch, plan.total_steps), (Some(15), Some(30)));
    let plan = plan_of("cifar10", &["duration=Steps(12)"]);
    assert_eq!((plan.steps_per_epoch, plan.total_steps), (None, Some(12)));
}

#[test]
fn a_list_that_is_there_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "# pictures\na.jpg\nb.jpg\n\nc.jpg\n").unwrap();
    let swap = format!("source=List(file: {list:?})");
    let refused = |batch: &str| {
        let request = Request {
            graph: "graphs/quickstart.ron".into(),
            swaps: vec![swap.clone()],
            sets: vec![batch.into(), "optimizer.lr_course=Constant".into()],
            ..Request::default()
        };
        build::plan(&load(&request).unwrap(), &Registry::default()).err().map(|problems| problems.len())
    };
    assert_eq!(refused("global_batch=3"), None);
    assert_eq!(refused("global_batch=4"), Some(1));
}

/// The value at a path of the graph, after one `--set`.
fn after(set: &str, path: &[&str]) -> String {
    let spec = plan_of("quickstart", &[set]).graph;
    let text = to_ron(&spec).unwrap();
    let tree = parse(&text, Origins::default().add("", text.clone())).unwrap();
    tree.find(path).unwrap_or_else(|| panic!("{path:?} in\n{text}")).to_ron()
}

#[test]
fn set_reaches_every_value() {
    let stage = |node: &'static str, rest: &[&'static str]| [&["nodes", node, "stage"], rest].concat();
    for (set, path, value) in [
        ("optimizer.lr=1e-3", stage("optimizer", &["lr"]), "0.001"),
        ("nodes.optimizer.lr=0.25", stage("optimizer", &["lr"]), "0.25"),
        ("nodes.optimizer.stage.lr=0.25", stage("optimizer", &["lr"]), "0.25"),
        ("network.head.out_dim=1024", vec!["network", "head", "out_dim"], "1024"),
        ("network.backbone.patch=16", vec!["network", "backbone", "patch"], "16"),
        ("global_batch=8", vec!["global_batch"], "8"),
        ("seed=7", vec!["seed"], "7"),
        ("duration=Steps(2000)", vec!["duration"], "Steps(2000)"),
        ("device=Cpu", vec!["device"], "Cpu"),
        ("knn.crop=16", stage("knn", &["crop"]), "16"),
        ("knn.resize=None", stage("knn", &["resize"]), "None"),
        // a part of a default that the file does not write
        ("optimizer.freeze_last_layer=Steps(3)", stage("optimizer", &["freeze_last_layer"]), "Steps(3)"),
        ("optimizer.lr_scaling=Linear(per: 64)", stage("optimizer", &["lr_scaling", "per"]), "64"),
        ("optimizer.clip.0=1.5", stage("optimizer", &["clip", "0"]), "1.5"),
        ("optimizer.betas.1=0.95", stage("optimizer", &["betas"]), "(0.9, 0.95)"),
        ("knn.k.0=5", stage("knn", &["k"]), "[5]"),
        ("knn.val.count=512", stage("knn", &["val", "count"]), "512"),
        ("collate.mean.2=0.5", stage("collate", &["mean"]), "(0.485, 0.456, 0.5)"),
        (
            "student.inputs.local=\"collate/global\"",
            vec!["nodes", "student", "inputs", "local"],
            "\"collate/global\"",
        ),
    ] {
        assert_eq!(after(set, &path), value, "--set {set}");
    }
}

#[test]
fn a_swap_takes_a_preset_or_ron_and_sets_come_after() {
    for (swap, momentum) in [
        ("center=Centering(momentum: 0.5)", 0.5),
        ("center=Centering", 0.9),
        ("center=stages/center/centering.ron", 0.9),
        ("center=\"stages/center/centering.ron\"", 0.9),
    ] {
        let sets = vec!["center.temperature=Constant(0.05)".to_owned()];
        let request = Request {
            graph: "graphs/quickstart.ron".into(),
            swaps: vec![swap.into()],
            sets,
            ..Request::default()
        };
        let (plan, _) = build::plan(&load(&request).unwrap(), &Registry::default()).unwrap();
        let StageSpec::Centering(center) = &plan.graph.nodes["center"].stage else { panic!("{swap}") };
        assert_eq!(center.momentum, momentum, "{swap}");
        assert_eq!(format!("{:?}", center.temperature), "Constant(0.05)", "{swap}");
    }
}

#[test]
fn a_resolved_graph_is_accepted_back() {
    for graph in GRAPHS {
        let spec = plan_of(graph, &["optimizer.lr_scaling=None", "knn.crop=32"]).graph;
        let text = to_ron(&spec).unwrap();
        let loaded = load_text(&text, &Request { graph: "graph.ron".into(), ..Request::default() });
        assert_eq!(loaded.problems, [], "{graph}\n{text}");
        assert_eq!(loaded.spec.as_ref(), Some(&spec), "{graph}\n{text}");
        // the same by ron's own reader
        assert_eq!(ron::from_str::<GraphSpec>(&text).unwrap(), spec, "{graph}");
    }
}

#[test]
fn both_readers_of_ron_agree_on_what_is_shipped() {
    let options = ron::Options::default().with_default_extension(extensions());
    let text = std::fs::read_to_string("graphs/quickstart.ron").unwrap();
    let ours = load_text(&text, &Request { graph: "graph.ron".into(), ..Request::default() }).spec;
    assert_eq!(ours, Some(options.from_str::<GraphSpec>(&text).unwrap()));
    for (path, text) in BUILT_IN {
        assert_eq!(preset(path, text).1, options.from_str::<StageSpec>(text).unwrap(), "{path}");
    }
}

fn preset(path: &str, text: &str) -> (Tree, StageSpec) {
    let mut origins = Origins::default();
    let id = origins.add(path, text);
    let tree = parse(text, id).unwrap_or_else(|problem| panic!("{path}: {problem:?}"));
    let reading = read::<StageSpec>(&tree, Default::default());
    assert!(reading.faults.is_empty(), "{path}: {:?}", reading.faults);
    (tree, reading.value.unwrap())
}

#[test]
fn presets_are_built_in_and_document_every_parameter() {
    let mut on_disk: Vec<String> = walkdir::WalkDir::new("stages")
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().display().to_string())
        .collect();
    on_disk.sort();
    let mut built_in: Vec<&str> = BUILT_IN.iter().map(|(path, _)| *path).collect();
    built_in.sort_unstable();
    assert_eq!(on_disk, built_in);
    for (path, text) in BUILT_IN {
        let (tree, spec) = preset(path, text);
        let role = spec.built_in().unwrap().role();
        assert_eq!(folder(path), Some(role.word()), "{path}");
        let stem = Path::new(path).file_stem().unwrap().to_str().unwrap().replace('_', "");
        assert_eq!(stem, spec.kind().to_lowercase(), "{path}");
        let all = to_ron(&spec).unwrap();
        let all = parse(&all, Origins::default().add("", all.clone())).unwrap();
        let keys = |tree: &Tree| tree.fields().iter().map(|field| field.key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&tree), keys(&all), "{path}: every parameter, in order");
        for field in tree.fields() {
            assert!(!field.comment.is_empty(), "{path}: {} is not explained", field.key);
        }
        // what a preset says is the default, apart from paths, which have none
        let defaults = parse(&format!("{}()", spec.kind()), Origins::default().add("", "")).unwrap();
        let defaults = read::<StageSpec>(&defaults, Default::default());
        if defaults.faults.is_empty() && role.word() != "source" {
            assert_eq!(defaults.value, Some(spec), "{path}");
        }
    }
}

#[test]
fn stages_of_one_role_have_the_same_ports() {
    let mut ports: BTreeMap<String, Ports> = BTreeMap::new();
    for (path, text) in BUILT_IN {
        let spec = preset(path, text).1;
        let declared = spec.built_in().unwrap();
        let own = declared.ports();
        let role = declared.role().word().to_owned();
        assert_eq!(ports.entry(role).or_insert_with(|| own.clone()), &own, "{path}");
    }
}

#[test]
fn a_loss_costs_nothing_that_it_does_not_use() {
    for (loss, inputs) in [
        ("CrossEntropy()", vec!["student/logits", "center/targets"]),
        ("CrossEntropy(koleo: 0.1)", vec!["student/logits", "center/targets", "student/cls"]),
        ("MeanSquaredError()", vec!["student/logits", "center/centered"]),
        ("InfoNce(queue: 64)", vec!["student/logits", "center/centered"]),
        ("SwappedPrediction()", vec!["student/logits"]),
    ] {
        let request = Request {
            graph: "graphs/quickstart.ron".into(),
            swaps: vec![format!("loss={loss}")],
            ..Request::default()
        };
        let (plan, _) = build::plan(&load(&request).unwrap(), &Registry::default()).unwrap();
        let port = |end: dinoflow::plan::PortRef| {
            let node = &plan.nodes[end.node.0];
            format!("{}/{}", node.name, node.outputs[end.port].name)
        };
        let of_loss = |e: &&dinoflow::plan::PlanEdge| {
            e.kind == EdgeKind::Forward && plan.nodes[e.to.node.0].name == "loss"
        };
        let mut found: Vec<String> = plan.edges.iter().filter(of_loss).map(|e| port(e.from)).collect();
        found.sort_by_key(|port| inputs.iter().position(|input| input == port));
        assert_eq!(found, inputs, "{loss}");
        // gradients flow back through those alone
        let back = |e: &&dinoflow::plan::PlanEdge| {
            e.kind == EdgeKind::Gradient && plan.nodes[e.from.node.0].name == "loss"
        };
        let expected = inputs.iter().filter(|input| input.starts_with("student")).count();
        assert_eq!(plan.edges.iter().filter(back).count(), expected, "{loss}");
        assert_eq!(plan.global_views(), Some(2));
    }
}

#[test]
fn checking_is_quick() {
    let start = std::time::Instant::now();
    let plan = plan_of("vitb8", &[]);
    assert!(!text::plan(&plan).is_empty());
    let spent = start.elapsed();
    assert!(spent.as_millis() < 100, "{spent:?}");
}

#[test]
fn every_picture_shows_every_node_and_shape() {
    let request = Request { graph: "graphs/vits16.ron".into(), ..Request::default() };
    let loaded = load(&request).unwrap();
    let draft = dinoflow::graph::check::check(&loaded, &Registry::default()).unwrap();
    let picture = picture::picture(&draft);
    for (format, text) in [
        ("dot", dot::dot(&picture)),
        ("mermaid", mermaid::mermaid(&picture)),
        ("svg", svg::svg(&picture)),
        ("json", json::picture(&picture)),
    ] {
        for node in &draft.nodes {
            assert!(text.contains(node.name), "{format}: {}", node.name);
        }
        assert!(text.contains("(10, 1024, 65536)"), "{format}");
    }
    assert!(picture.wires.iter().any(|wire| wire.ty == EdgeType::Gradients.to_string()));
}

fn dinoflow(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dinoflow")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_says_how_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.ron");
    std::fs::write(&large, " ".repeat((1 << 20) + 1)).unwrap();
    let svg = folder.path().join("graph.svg");
    let (large, svg) = (large.to_str().unwrap(), svg.to_str().unwrap());
    for (arguments, status, said) in [
        (&["check", "graphs/quickstart.ron"][..], 0, "predicted peak of memory"),
        (&["check", "graphs/quickstart.ron", "--json"], 0, "\"ok\": true"),
        (&["check", "graphs/quickstart.ron", "--json", "--set", "sed=1"], 2, "\"ok\": false"),
        (&["check", "graphs/quickstart.ron", "--set", "optimizer.lrr=1"], 2, "unknown key `lrr`"),
        (&["check", "graphs/absent.ron"], 2, "cannot read graphs/absent.ron"),
        (&["check", large], 2, "over 1 MiB"),
        (&["check", "graphs/quickstart.ron", "--device", "gpu"], 2, "expected auto, cpu, cuda or cuda:N"),
        (&["check"], 2, "GRAPH"),
        (
            &["run", "graphs/quickstart.ron", "--set", "optimizer.lr=NaN"],
            2,
            "`lr` of `optimizer` does not fit",
        ),
        (&["graph", "graphs/quickstart.ron", "--format", "mermaid"], 0, "flowchart"),
        (
            &["graph", "graphs/quickstart.ron", "--set", "loss.inputs.targets=\"x/y\"", "-o", svg],
            0,
            "no node `x`",
        ),
        (&["graph", "graphs/vits16.ron", "--diff", "graphs/vitb16.ron", "--format", "dot"], 0, "VitBase"),
        (&["stages"], 0, "stages/center/centering.ron"),
        (&["stages", "center"], 0, "temperature"),
        (&["stages", "centring"], 2, "did you mean `Centering`?"),
        (&["--help"], 0, "check"),
    ] {
        let (code, out, err) = dinoflow(arguments);
        assert_eq!(code, status, "{arguments:?}\n{out}{err}");
        assert!(out.contains(said) || err.contains(said), "{arguments:?}\n{out}{err}");
    }
    assert!(std::fs::read_to_string(svg).unwrap().contains("not there"));
}
