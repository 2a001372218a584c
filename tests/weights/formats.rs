//! Every format there and back without a bit lost, what each has no place for, and what is said of files that don't fit.

use std::path::Path;

use dfdx::prelude::Cpu;
use dinoflow::graph::load::{Request as Loading, load_text};
use dinoflow::graph::spec::{
    Activation, Backbone, HeadSpec, Init, NetworkSpec, ResNetSpec, ResNetStem, Stem, VitSpec,
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
    NetworkSpec { backbone, head, drop_path: 0.0, init: Init::Seed }
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
fn through(
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
    let lone = Request { from: checkpoint.join("teacher.safetensors"), ..request(folder.path()) };
    assert!(export(&lone).unwrap_err().to_string().contains("name a run"));
    for name in ["../../../etc", "step-../x", "", "step-00000025"] {
        std::fs::write(folder.path().join("checkpoints/latest"), name).unwrap();
        assert!(open(folder.path(), Which::Teacher).is_err(), "{name}");
    }
}

/// Opens weights after `change` did something to their file's tensors.
fn changed(network: &NetworkSpec, change: impl FnOnce(&mut State)) -> Result<Opened, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.safetensors");
    let mut state = weights(network, 3);
    change(&mut state);
    safetensors(&path, &state).unwrap();
    open(&path, Which::Teacher).map_err(|e| e.to_string())
}

fn tensor(dims: &[usize], value: f32) -> SavedTensor {
    SavedTensor::F32 { dims: dims.to_vec(), values: vec![value; dims.iter().product()] }
}

#[test]
fn what_does_not_fit_is_named() {
    let check = |network: &NetworkSpec, change: &dyn Fn(&mut State), words: &str| {
        let error = changed(network, change).expect_err(words);
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    };
    let put = |key: &'static str, tensor: SavedTensor| {
        move |state: &mut State| drop(state.insert(key.into(), tensor.clone()))
    };
    let vit = micro();
    let check_vit = |change: &dyn Fn(&mut State), words: &str| check(&vit, change, words);
    check_vit(
        &|state| drop(state.remove("backbone.norm.bias")),
        "1 key is missing for vit_micro/8: backbone.norm.bias",
    );
    check_vit(&|state| state.retain(|key, _| !key.contains("attn")), "16 keys are missing");
    let proj = "backbone.blocks.1.attn.proj.weight";
    check_vit(
        &put(proj, tensor(&[128, 64], 0.0)),
        "blocks.1.attn.proj.weight is [128, 64], vit_micro/8 has [128, 128] there",
    );
    check_vit(&put("backbone.blocks.0.ls1.gamma", tensor(&[128], 1.0)), "a scale behind each branch");
    check_vit(&put("backbone.blocks.3.attn.q_norm.weight", tensor(&[64], 1.0)), "norms of queries and keys");
    check_vit(&put("backbone.norm_pre.weight", tensor(&[128], 1.0)), "a norm of its own");
    check_vit(&put("head.other.weight", tensor(&[128], 1.0)), "its head is another");
    check_vit(
        &put("backbone.cls_token", tensor(&[1, 1, 256], 0.0)),
        "a vision transformer of width 256 with 4 blocks",
    );
    check_vit(&put("backbone.pos_embed", tensor(&[1, 16, 128], 0.0)), "15 patches, which make no square");
    check_vit(
        &put("backbone.patch_embed.proj.weight", tensor(&[128, 3, 10, 10], 0.0)),
        "patches of 10 pixels",
    );
    check_vit(
        &put("backbone.patch_embed.proj.weight", tensor(&[128, 1, 8, 8], 0.0)),
        "pictures of 1 channels",
    );
    check_vit(&put("head.mlp.9.weight", tensor(&[8, 8], 0.0)), "missing for vit_micro/8: head.mlp.9.bias");
    check_vit(&|state| drop(state.remove("head.mlp.0.weight")), "shows");
    let mut hurt = weights(&vit, 3).remove(proj).unwrap();
    if let SavedTensor::F32 { values, .. } = &mut hurt {
        values[77] = f32::NAN;
    }
    check_vit(&put(proj, hurt), "attn.proj.weight holds NaN at position 77 (of 16384)");
    check_vit(&put("backbone.norm.weight", tensor(&[128], f32::INFINITY)), "backbone.norm.weight holds inf");
    let counts = SavedTensor::U64 { dims: vec![128], values: vec![1; 128] };
    check_vit(&put("backbone.norm.weight", counts), "expected floats");
    check(
        &resnet18(),
        &|state| state.retain(|key, _| !key.contains("layer3.1")),
        "[2, 2, 1, 2] basic blocks",
    );
}

#[test]
fn what_is_left_over_is_said() {
    let more = |state: &mut State| {
        state.insert("backbone.fc.weight".into(), tensor(&[10, 512], 0.0));
        // a number that is none matters where it is used
        state.insert("backbone.predictor.weight".into(), tensor(&[4], f32::NAN));
        state.remove("backbone.bn1.running_mean");
        state.remove("backbone.bn1.running_var");
        state.remove("backbone.bn1.num_batches_tracked");
    };
    let found = changed(&resnet18(), more).unwrap();
    let left: Vec<&str> = found.keys.left.iter().map(|left| &*left.key).collect();
    assert_eq!(left, ["backbone.fc.weight", "backbone.predictor.weight"]);
    assert_eq!(found.keys.missing.len(), 3);
    let text = found.keys.to_string();
    for words in [
        "tensors loaded",
        "a classifier of the pretraining's labels",
        "what batch norms have seen is not in the file",
    ] {
        assert!(text.contains(words), "{text} lacks {words}");
    }
}

/// A safetensors file whose floats are of another type.
fn narrowed(path: &Path, state: &State, dtype: safetensors::Dtype, bytes: impl Fn(f32) -> Vec<u8>) {
    let data: Vec<(&String, Vec<usize>, Vec<u8>)> = state
        .iter()
        .filter_map(|(key, tensor)| match tensor {
            SavedTensor::F32 { dims, values } => {
                Some((key, dims.clone(), values.iter().flat_map(|&x| bytes(x)).collect()))
            }
            SavedTensor::U64 { .. } => None,
        })
        .collect();
    let views = data.iter().map(|(key, dims, bytes)| {
        (key, safetensors::tensor::TensorView::new(dtype, dims.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

#[test]
fn other_floats_come_to_f32_and_are_told() {
    use half::{bf16, f16};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("narrow.safetensors");
    let state = weights(&micro(), 5);
    let check = |name: &str, to: &dyn Fn(f32) -> f32| {
        let found = open(&path, Which::Teacher).unwrap();
        for (key, tensor) in &found.state {
            let (SavedTensor::F32 { values, .. }, SavedTensor::F32 { values: ours, .. }) =
                (tensor, &state[key])
            else {
                continue;
            };
            assert!(values.iter().zip(ours).all(|(found, &ours)| *found == to(ours)), "{key} from {name}");
        }
        let words = format!("of them from {name} to float32");
        assert!(found.keys.to_string().contains(&words), "{}", found.keys);
    };
    narrowed(&path, &state, safetensors::Dtype::F16, |x| f16::from_f32(x).to_le_bytes().to_vec());
    check("float16", &|x| f16::from_f32(x).to_f32());
    narrowed(&path, &state, safetensors::Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes().to_vec());
    check("bfloat16", &|x| bf16::from_f32(x).to_f32());
    narrowed(&path, &state, safetensors::Dtype::F64, |x| f64::from(x).to_le_bytes().to_vec());
    check("float64", &|x| x);
    narrowed(&path, &state, safetensors::Dtype::I32, |x| (x as i32).to_le_bytes().to_vec());
    let error = open(&path, Which::Teacher).unwrap_err().to_string();
    assert!(error.contains("it holds I32"), "{error}");
}

#[test]
fn settings_beside_weights_are_held_against_them() {
    let folder = tempfile::tempdir().unwrap();
    through(folder.path(), &micro(), Target::Hf, "hf").unwrap();
    let (hf, config) = (folder.path().join("hf"), folder.path().join("hf/config.json"));
    let shown = open(&hf, Which::Teacher).unwrap().shown.unwrap();
    assert_eq!((shown.resize, shown.crop, shown.mean), (Some(36), Some(32), Some([0.485, 0.456, 0.406])));
    let good = std::fs::read_to_string(&config).unwrap();
    let set = |key: &str, value: &str| {
        let mut config: serde_json::Value = serde_json::from_str(&good).unwrap();
        config[key] = serde_json::from_str(value).unwrap();
        config.to_string()
    };
    let mut deep = "[".repeat(200_000);
    deep.push_str(&"]".repeat(200_000));
    for (text, words) in [
        (set("model_type", "\"dinov2\""), "model_type is dinov2"),
        (set("hidden_act", "\"relu\""), "hidden_act is relu"),
        (set("num_attention_heads", "16"), "num_attention_heads is 16, the weights are vit_micro/8's with 2"),
        (set("hidden_size", "1e300"), "hidden_size is 1e+300"),
        (set("num_hidden_layers", "-1"), "num_hidden_layers is -1"),
        (
            set("image_size", "[1, [2, [3, \"a very long value that no message should show in whole\"]]]"),
            "image_size is [1,[2,[3,\"a very long",
        ),
        ("{".into(), "no JSON"),
        (deep, "no JSON"),
        (" ".repeat(2 << 20), "which no such file has"),
    ] {
        std::fs::write(&config, text).unwrap();
        let error = open(&hf, Which::Teacher).expect_err(words).to_string();
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
    std::fs::write(&config, set("layer_norm_eps", "1e-12")).unwrap();
    let notes = open(&hf, Which::Teacher).unwrap().keys.notes;
    assert!(notes[0].contains("layer_norm_eps 1e-12"), "{notes:?}");
    std::fs::remove_file(hf.join("model.safetensors")).unwrap();
    assert!(open(&hf, Which::Teacher).unwrap_err().to_string().contains("neither model.safetensors nor"));
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
        for (side, words) in
            [(50, "for instance 48"), (0, "for instance 8"), (usize::MAX, "for instance 16384")]
        {
            let error = resize(&mut network, &mut state, side).unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
    }
    let error = resize(&mut resnet18(), &mut State::new(), 48).unwrap_err().to_string();
    assert!(error.contains("leave --size out"), "{error}");
}
