//! Every preset of a role in place of every other, in every graph that comes along: two steps of each, or a refusal for a reason.

use std::path::{Path, PathBuf};

use dfdx::prelude::Cpu;
use dinoflow::graph::load::{Request, load_text};
use dinoflow::graph::preset::{BUILT_IN, folder};
use dinoflow::graph::report;
use dinoflow::plan::build;
use dinoflow::runtime::{self, Options};
use dinoflow::stages::Registry;

/// (graphs, the preset's role or path, why it is refused): SwAV has no teacher and what belongs to one, only BYOL has a
/// predictor, and a residual network does not attend.
const REFUSED: &[(&[&str], &str, &str)] = &[
    (&["resnet50"], "stages/attention/", "no node `attention`"),
    (&["swav"], "stages/teacher/", "no node `teacher`"),
    (&["swav"], "stages/center/", "no node `center`"),
    (&["swav"], "stages/ema/", "no node `ema`"),
    (&["swav"], "stages/loss/cross_entropy.ron", "the input `targets` of `loss` is not wired"),
    (&["swav"], "stages/loss/mean_squared_error.ron", "the input `teacher` of `loss` is not wired"),
    (&["swav"], "stages/loss/info_nce.ron", "the input `teacher` of `loss` is not wired"),
    (
        &["quickstart", "cifar10", "vits16", "vits8", "vitb16", "vitb8", "resnet50", "moco", "swav"],
        "stages/predictor/",
        "no node `predictor`",
    ),
];

/// What makes two steps of any graph a matter of milliseconds. The wires, the stages and their other parameters stay as they are.
fn small(graph: &str, role: &str, preset: &str, data: &Path) -> Vec<String> {
    let mut sets: Vec<String> = [
        "global_batch=4",
        "network.head.hidden=16",
        "network.head.bottleneck=8",
        "multi_crop.global_size=16",
        "multi_crop.local_size=8",
        "knn.train=Synthetic(count: 16, size: 16)",
        "knn.val=Synthetic(count: 8, size: 16, split: Val)",
        "knn.k=[1]",
    ]
    .map(String::from)
    .into();
    let backbone =
        if graph == "resnet50" { "ResNet18(stem: Small)" } else { "VitMicro(patch: 8, image: 16)" };
    sets.push(format!("network.backbone={backbone}"));
    if !["byol", "moco"].contains(&graph) {
        sets.push("network.head.out_dim=32".into());
    }
    if graph == "byol" {
        sets.push("predictor.hidden=16".into());
        // an optimizer's preset does not know of the predictor
        sets.push("optimizer.trains=[\"student\", \"predictor\"]".into());
    }
    let path = |file: &str| format!("{:?}", data.join(file));
    sets.extend(match (role, preset) {
        ("source", "stages/source/folder.ron") => vec![format!("source.root={}", path("pictures"))],
        ("source", "stages/source/list.ron") => vec![format!("source.file={}", path("list.txt"))],
        ("source", "stages/source/shards.ron") => vec![format!("source.files=[{}]", path("shard.tar"))],
        ("loss", "stages/loss/info_nce.ron") => vec!["loss.queue=64".into()],
        _ => vec![],
    });
    sets
}

/// A few pictures as a folder, a list and a shard.
fn data() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let pictures = data.path().join("pictures/a");
    std::fs::create_dir_all(&pictures).unwrap();
    let mut list = String::new();
    let mut shard = tar::Builder::new(std::fs::File::create(data.path().join("shard.tar")).unwrap());
    for index in 0..8u8 {
        let file = pictures.join(format!("{index}.png"));
        image::RgbImage::from_fn(20, 18, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, index * 30]))
            .save(&file)
            .unwrap();
        shard.append_path_with_name(&file, format!("{index}.png")).unwrap();
        list += &format!("{}\n", file.display());
    }
    shard.finish().unwrap();
    std::fs::write(data.path().join("list.txt"), list).unwrap();
    data
}

/// Two steps of a graph with a preset in its role's place, or why not.
fn two_steps(graph: &Path, preset: &str, data: &Path) -> Result<(), String> {
    let role = folder(preset).unwrap();
    let name = graph.file_stem().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(graph).unwrap();
    // pictures are drawn, unless it is the source that is swapped
    let mut swaps = vec![format!("{role}={preset}")];
    if role != "source" {
        swaps.push("source=Synthetic(count: 64, size: 20)".into());
    }
    let request =
        Request { graph: graph.into(), swaps, sets: small(name, role, preset, data), ..Request::default() };
    let loaded = load_text(&text, &request);
    let registry = Registry::default();
    let (plan, _) =
        build::plan(&loaded, &registry).map_err(|problems| report::text(&problems, &loaded.origins))?;
    let out = tempfile::tempdir().unwrap();
    let options = Options { out: out.path().join("run"), steps: Some(2), ..Options::default() };
    let outcome = runtime::run(&plan, &registry, "", &Cpu::default(), &options, &Default::default())
        .map_err(|error| format!("{error}"))?;
    if outcome.step == 2 { Ok(()) } else { Err(format!("ended after step {}", outcome.step)) }
}

#[test]
fn every_preset_takes_its_roles_place_and_runs() {
    let data = data();
    let mut graphs: Vec<PathBuf> =
        std::fs::read_dir("graphs").unwrap().map(|entry| entry.unwrap().path()).collect();
    graphs.retain(|path| path.extension().is_some_and(|extension| extension == "ron"));
    assert!(graphs.len() >= 10, "{graphs:?}");
    for graph in &graphs {
        let name = graph.file_stem().unwrap().to_str().unwrap();
        for (preset, _) in BUILT_IN {
            let why = REFUSED
                .iter()
                .find(|(graphs, of, _)| graphs.contains(&name) && preset.starts_with(of))
                .map(|(_, _, why)| *why);
            match (two_steps(graph, preset, data.path()), why) {
                (Ok(()), None) => {}
                (Err(text), Some(why)) if text.contains(why) => {}
                (found, _) => panic!("{preset} in {name}: {found:?}, expected {why:?}"),
            }
        }
    }
}
