//! Every format there and back without a bit lost, what each has no place for, and what is said of files that don't fit.

use std::path::Path;

use dfdx::prelude::Cpu;
use dinoflow::graph::load::{Request as Loading, load_text};
use dinoflow::graph::spec::{
    Activation, Backbone, HeadSpec, NetworkSpec, ResNetSpec, ResNetStem, Stem, VitSpec,
};
use dinoflow::graph::write::to_ron;
use dinoflow::kernels::Products;
use dinoflow::keyed::Key;
use dinoflow::nn::architectures::build;
use dinoflow::nn::network::Asked;
use dinoflow::nn::weights::{load, save};
use dinoflow::runtime::stage::{SavedTensor, State};
use dinoflow::tensor::Batched;
use dinoflow::weights::export::{Request, Target, export, safetensors};
use dinoflow::weights::{Format, Opened, Which, open, resize};

fn network(backbone: Backbone) -> NetworkSpec {
    let head = HeadSpec { hidden: 16, bottleneck: 8, out_dim: 12, batch_norm: true, ..HeadSpec::default() };
    NetworkSpec::new(backbone, head)
}

pub fn micro() -> NetworkSpec {
    micro_with(Stem::Patch, 0)
}

fn micro_with(stem: Stem, registers: usize) -> NetworkSpec {
    network(Backbone::VitMicro(VitSpec { patch: 8, image: 32, stem, registers }))
}

pub fn resnet18() -> NetworkSpec {
    network(Backbone::ResNet18(ResNetSpec { stem: ResNetStem::Small }))
}

/// Drawn weights of a network, with what its batch norms have seen.
pub fn weights(network: &NetworkSpec, seed: u64) -> State {
    let cpu = Cpu::default();
    let built = build(&cpu, network, Products::F32, seed).unwrap();
    let mut state = save(&cpu, built.parameters(), "").unwrap();
    let is_resnet = network.backbone.resnet().is_some();
    let norms: Vec<(String, usize)> = state
        .iter()
        .filter_map(|(key, tensor)| match tensor {
            SavedTensor::F32 { dims, .. } if dims.len() == 1 && (is_resnet || key.starts_with("head.")) => {
                Some((key.strip_suffix(".weight")?.to_owned(), dims[0]))
            }
            _ => None,
        })
        .collect();
    for (norm, width) in norms {
        let mut draws = Key::new(seed).named(&norm).draws();
        let mut drawn = |low, high| SavedTensor::F32 {
            dims: vec![width],
            values: (0..width).map(|_| draws.uniform(low, high) as f32).collect(),
        };
        state.insert(format!("{norm}.running_mean"), drawn(-1.0, 1.0));
        state.insert(format!("{norm}.running_var"), drawn(0.5, 2.0));
        let batches = SavedTensor::U64 { dims: vec![], values: vec![24] };
        state.insert(format!("{norm}.num_batches_tracked"), batches);
    }
    // what is 0 or 1 at first would hide a swap
    for (key, tensor) in &mut state {
        let SavedTensor::F32 { values, .. } = tensor else { continue };
        let mut draws = Key::new(seed).named(key).draws();
        if !key.ends_with("weight_g") && values.iter().all(|&x| x == values[0]) {
            values.iter_mut().for_each(|x| *x += draws.uniform(0.0, 0.1) as f32);
        }
    }
    state
}

pub fn shapes(network: &NetworkSpec) -> Vec<(String, Vec<usize>)> {
    let dims = |tensor: SavedTensor| match tensor {
        SavedTensor::F32 { dims, .. } | SavedTensor::U64 { dims, .. } => dims,
    };
    weights(network, 0).into_iter().map(|(key, tensor)| (key, dims(tensor))).collect()
}

/// Writes weights as `target` into a folder, and opens what was written.
pub fn through(
    folder: &Path,
    network: &NetworkSpec,
    target: Target,
    out: &str,
) -> Result<(State, Opened), String> {
    let (from, out) = (folder.join("ours.safetensors"), folder.join(out));
    let state = weights(network, 7);
    safetensors(&from, &state).unwrap();
    let request = Request { from, which: Which::Teacher, target, out: out.clone(), size: None };
    export(&request).map_err(|e| e.to_string())?;
    Ok((state, open(&out, Which::Teacher).map_err(|e| e.to_string())?))
}

#[track_caller]
fn check(network: NetworkSpec, target: Target, out: &str, format: Format) {
    let folder = tempfile::tempdir().unwrap();
    let (mut ours, found) = through(folder.path(), &network, target, out).unwrap();
    let mut expected = network;
    if target != Target::Safetensors {
        ours.retain(|key, _| key.starts_with("backbone."));
        expected.head = HeadSpec::default();
    }
    assert_eq!(found.format, format, "{target:?}");
    assert_eq!(found.network, expected, "{target:?}");
    assert_eq!(found.has_head, target == Target::Safetensors, "{target:?}");
    assert_eq!(found.state.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{target:?}");
    for (key, tensor) in &ours {
        assert!(found.state[key] == *tensor, "{target:?}: {key} came back otherwise");
    }
    assert_eq!((&found.keys.left[..], &found.keys.missing[..]), (&[][..], &[][..]), "{target:?}");
}

#[test]
fn every_format_gives_back_what_it_was_given() {
    check(micro(), Target::Safetensors, "out.safetensors", Format::Dinoflow);
    check(micro(), Target::Dino, "out.pth", Format::PublishedBackbone);
    check(micro(), Target::Dino, "out.safetensors", Format::PublishedBackbone);
    check(micro(), Target::Timm, "folder", Format::Timm);
    check(micro(), Target::Hf, "folder", Format::HuggingFace);
    check(micro_with(Stem::Patch, 3), Target::Timm, "out.pth", Format::Timm);
    check(micro_with(Stem::Patch, 3), Target::Dino, "out.pt", Format::PublishedBackbone);
    check(micro_with(Stem::Conv, 2), Target::Dino, "out.pth", Format::PublishedBackbone);
    check(micro_with(Stem::Conv, 0), Target::Safetensors, "out.safetensors", Format::Dinoflow);
    check(resnet18(), Target::Torchvision, "out.pth", Format::Torchvision);
    check(resnet18(), Target::Safetensors, "out.safetensors", Format::Dinoflow);
    let mut free = micro();
    free.head = HeadSpec { layers: 1, prototypes: false, hidden: 2048, out_dim: 65536, ..free.head };
    free.head.batch_norm = false;
    check(free, Target::Safetensors, "out.safetensors", Format::Dinoflow);
}

#[test]
fn what_a_format_has_no_place_for_is_refused_with_what_has() {
    let refused = |network: NetworkSpec, target, out, words: &str| {
        let folder = tempfile::tempdir().unwrap();
        let error = through(folder.path(), &network, target, out).unwrap_err();
        assert!(error.contains(words), "{target:?}: {error:?} lacks {words:?}");
        // nothing was left behind
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{target:?}");
    };
    refused(micro_with(Stem::Conv, 0), Target::Timm, "a.pth", "no convolutional stem");
    refused(micro_with(Stem::Conv, 0), Target::Hf, "hf", "use --format dino or safetensors");
    refused(micro_with(Stem::Patch, 4), Target::Hf, "hf", "no registers: use --format timm");
    refused(resnet18(), Target::Timm, "a.pth", "use --format torchvision");
    refused(resnet18(), Target::Hf, "hf", "has no place for");
    refused(micro(), Target::Torchvision, "a.pth", "use --format safetensors or dino");
    refused(micro(), Target::Dino, "a.onnx", "let it end in .safetensors or, for torch.load, .pth");
    refused(micro(), Target::DinoFull, "a.pth", "name a run or a checkpoint's folder");
    refused(micro(), Target::Safetensors, "nowhere/a.safetensors", "");
}

/// A run's folder as training leaves it, with a head that shapes don't tell all of.
fn run(folder: &Path) -> (NetworkSpec, State, State) {
    let mut network = micro();
    network.head.activation = Activation::Relu;
    network.head.l2 = false;
    let checkpoint = folder.join("checkpoints/step-00000024");
    std::fs::create_dir_all(&checkpoint).unwrap();
    let (student, teacher) = (weights(&network, 1), weights(&network, 2));
    safetensors(&checkpoint.join("student.safetensors"), &student).unwrap();
    safetensors(&checkpoint.join("teacher.safetensors"), &teacher).unwrap();
    let center = SavedTensor::F32 { dims: vec![12], values: (0..12).map(|i| i as f32).collect() };
    safetensors(&checkpoint.join("state.safetensors"), &State::from([("center/center".into(), center)]))
        .unwrap();
    std::fs::write(folder.join("checkpoints/latest"), "step-00000024\n").unwrap();
    let steps =
        (0..24).map(|step| format!("{{\"event\":\"step\",\"step\":{step},\"epoch\":{}}}\n", step / 10));
    std::fs::write(folder.join("metrics.jsonl"), steps.collect::<String>()).unwrap();
    let loaded = load_text(
        include_str!("../graphs/good.ron"),
        &Loading { graph: "good.ron".into(), ..Loading::default() },
    );
    let mut graph = loaded.spec.unwrap();
    graph.network = network.clone();
    std::fs::write(folder.join("graph.ron"), to_ron(&graph).unwrap()).unwrap();
    (network, student, teacher)
}

#[test]
fn runs_and_checkpoints_hold_two_networks() {
    let folder = tempfile::tempdir().unwrap();
    let (network, student, teacher) = run(folder.path());
    let full = folder.path().join("full.pth");
    let request = |from: &Path| Request {
        from: from.to_owned(),
        which: Which::Teacher,
        target: Target::DinoFull,
        out: full.clone(),
        size: None,
    };
    assert_eq!(export(&request(folder.path())).unwrap().tensors, student.len() + teacher.len() + 1);
    let checkpoint = folder.path().join("checkpoints/step-00000024");
    for (path, format) in
        [(folder.path(), Format::Dinoflow), (&checkpoint, Format::Dinoflow), (&full, Format::PublishedFull)]
    {
        for (which, expected) in [(Which::Student, &student), (Which::Teacher, &teacher)] {
            let found = open(path, which).unwrap();
            assert!(found.state == *expected, "{} {which:?}", path.display());
            assert_eq!((found.format, found.has_head), (format, true));
            if format == Format::Dinoflow {
                assert_eq!(found.network, network);
                assert_eq!(found.shown.unwrap().mean, Some([0.485, 0.456, 0.406]));
            }
        }
    }
    // and once more through what was written
    let again = Request { out: folder.path().join("again.pth"), ..request(&full) };
    export(&again).unwrap();
    assert!(open(&again.out, Which::Student).unwrap().state == student);
    std::fs::rename(checkpoint.join("student.safetensors"), checkpoint.join("kept")).unwrap();
    let error = open(folder.path(), Which::Student).unwrap_err().to_string();
    assert!(
        error.contains("the checkpoint has no student but a teacher: ask for it with --which teacher"),
        "{error}"
    );
    std::fs::rename(checkpoint.join("kept"), checkpoint.join("student.safetensors")).unwrap();
    let lone = Request { from: checkpoint.join("teacher.safetensors"), ..request(folder.path()) };
    assert!(export(&lone).unwrap_err().to_string().contains("name a run"));
    for name in ["../../../etc", "step-../x", "", "step-00000025"] {
        std::fs::write(folder.path().join("checkpoints/latest"), name).unwrap();
        assert!(open(folder.path(), Which::Teacher).is_err(), "{name}");
    }
}

/// Features of two pictures of `side` pixels.
fn features(network: &NetworkSpec, state: &State, side: usize) -> Vec<f32> {
    let cpu = Cpu::default();
    let mut built = build(&cpu, network, Products::F32, 0).unwrap();
    load(&cpu, std::sync::Arc::get_mut(&mut built).unwrap().parameters_mut(), &mut state.clone(), "")
        .unwrap();
    let mut draws = Key::new(1).named("pictures").draws();
    let pixels = (0..2 * 3 * side * side).map(|_| draws.normal() as f32).collect();
    let images = Batched::from_host(&cpu, pixels, vec![1, 2, 3, side, side], Some(1)).unwrap();
    built.forward(&[&images], Asked::default()).unwrap().cls.to_host().unwrap()
}

#[test]
fn a_network_for_another_size_gives_the_features_that_it_had_there() {
    for registers in [0, 2] {
        let mut network = micro_with(Stem::Patch, registers);
        let mut state = weights(&network, 9);
        let before = features(&network, &state, 48);
        let reshaped = resize(&mut network, &mut state, 48).unwrap().unwrap();
        assert_eq!((reshaped.from, reshaped.to), (vec![1, 17, 128], vec![1, 37, 128]));
        assert_eq!(network.backbone.image(), 48);
        let after = features(&network, &state, 48);
        let apart = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{registers} registers: {apart}");
        assert_eq!(resize(&mut network, &mut state, 48).unwrap(), None);
        for (side, words) in [
            (50, "for instance 48"),
            (0, "for instance 8"),
            (usize::MAX, "for instance 16384"),
            (16384, "4194304 patches, more than are written"),
        ] {
            let error = resize(&mut network, &mut state, side).unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
    }
    let error = resize(&mut resnet18(), &mut State::new(), 48).unwrap_err().to_string();
    assert!(error.contains("leave --size out"), "{error}");
}
