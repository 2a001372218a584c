//! Files that don't fit, or not quite: what is said of them.

use std::path::Path;

use dinoflow::graph::spec::NetworkSpec;
use dinoflow::runtime::stage::{SavedTensor, State};
use dinoflow::weights::export::{Request, Target, export, safetensors};
use dinoflow::weights::{Opened, Which, open};

use crate::formats::{micro, resnet18, through, weights};

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

/// What is said of a network's file after a change.
#[track_caller]
fn check(network: &NetworkSpec, change: impl FnOnce(&mut State), words: &str) {
    let error = changed(network, change).expect_err(words);
    assert!(error.contains(words), "{error:?} lacks {words:?}");
}

#[test]
fn keys_that_are_missing_are_named() {
    let vit = micro();
    let one = "1 key is missing for vit_micro/8: backbone.norm.bias";
    check(&vit, |state| drop(state.remove("backbone.norm.bias")), one);
    check(&vit, |state| state.retain(|key, _| !key.contains("attn")), "16 keys are missing");
    check(&vit, |state| drop(state.remove("head.mlp.0.weight")), "its head is another");
    let blocks = "[2, 2, 1, 2] basic blocks";
    check(&resnet18(), |state| state.retain(|key, _| !key.contains("layer3.1")), blocks);
    for (norm, network) in [("backbone.layer2.0.bn1", resnet18()), ("head.mlp.1", micro())] {
        for (gone, there) in [("running_mean", "running_var"), ("running_var", "running_mean")] {
            let words = format!("{norm}.{there}: a batch norm's mean and variance belong together");
            check(&network, |state| drop(state.remove(&format!("{norm}.{gone}"))), &words);
        }
    }
}

#[test]
fn tensors_of_another_network_are_named() {
    let shapes = "blocks.1.attn.proj.weight is [128, 64], vit_micro/8 has [128, 128] there";
    for (key, dims, words) in [
        ("backbone.blocks.1.attn.proj.weight", &[128, 64][..], shapes),
        ("backbone.blocks.0.ls1.gamma", &[128], "a scale behind each branch"),
        ("backbone.blocks.3.attn.q_norm.weight", &[64], "norms of queries and keys"),
        ("backbone.norm_pre.weight", &[128], "a norm of its own"),
        ("head.other.weight", &[128], "its head is another"),
        ("backbone.cls_token", &[1, 1, 256], "a vision transformer of width 256 with 4 blocks"),
        ("backbone.pos_embed", &[1, 16, 128], "15 patches, which make no square"),
        ("backbone.patch_embed.proj.weight", &[128, 3, 10, 10], "patches of 10 pixels"),
        ("backbone.patch_embed.proj.weight", &[128, 1, 8, 8], "pictures of 1 channels"),
        ("head.mlp.9.weight", &[8, 8], "missing for vit_micro/8: head.mlp.7.bias"),
        ("head.mlp.12.weight", &[8, 8], "its head is another"),
        ("head.mlp.0.weight", &[0, 128], "a head with a layer of no numbers"),
        ("head.last_layer.weight_v", &[0, 8], "a head with a layer of no numbers"),
    ] {
        check(&micro(), |state| drop(state.insert(key.into(), tensor(dims, 0.0))), words);
    }
}

#[test]
fn numbers_that_are_none_are_named() {
    let (vit, key) = (micro(), "backbone.blocks.1.attn.proj.weight");
    let hurt = |state: &mut State| {
        if let Some(SavedTensor::F32 { values, .. }) = state.get_mut(key) {
            values[77] = f32::NAN;
        }
    };
    check(&vit, hurt, "attn.proj.weight holds NaN at position 77 (of 16384)");
    let put =
        |tensor: SavedTensor| |state: &mut State| drop(state.insert("backbone.norm.weight".into(), tensor));
    check(&vit, put(tensor(&[128], f32::INFINITY)), "backbone.norm.weight holds inf");
    let variance =
        |state: &mut State| drop(state.insert("backbone.bn1.running_var".into(), tensor(&[64], -1.0)));
    check(&resnet18(), variance, "bn1.running_var: -1 at position 0 (of 64): a variance is not below 0");
    check(&vit, put(SavedTensor::U64 { dims: vec![128], values: vec![1; 128] }), "expected floats");
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
    narrowed(&path, &state, safetensors::Dtype::F64, |_| 1e300f64.to_le_bytes().to_vec());
    let error = open(&path, Which::Teacher).unwrap_err().to_string();
    assert!(error.contains("1e300 at position 0") && error.contains("more than float32 holds"), "{error}");
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
        (set("layer_norm_eps", "0.1"), "layer_norm_eps is 1e-1; dinoflow computes with 1e-6"),
        (set("layer_norm_eps", "0"), "layer_norm_eps is 0e0"),
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
    std::fs::write(hf.join("preprocessor_config.json"), r#"{"image_std":[0,0,0]}"#).unwrap();
    let error = open(&hf, Which::Teacher).unwrap_err().to_string();
    assert!(error.contains("preprocessor_config.json: image_std is [0,0,0]"), "{error}");
    std::fs::rename(hf.join("model.safetensors"), hf.join("model-00001-of-00002.safetensors")).unwrap();
    let error = open(&hf.join("model-00001-of-00002.safetensors"), Which::Teacher).unwrap_err().to_string();
    assert!(error.contains("one of 2 parts") && error.contains("save_pretrained"), "{error}");
    assert!(open(&hf, Which::Teacher).unwrap_err().to_string().contains("neither model.safetensors nor"));
}

/// Settings of timm's that change what a network computes, or that its weights contradict.
#[test]
fn timms_settings_are_held_against_weights() {
    let folder = tempfile::tempdir().unwrap();
    through(folder.path(), &micro(), Target::Timm, "timm").unwrap();
    let (timm, config) = (folder.path().join("timm"), folder.path().join("timm/config.json"));
    let good: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    for (key, value, words) in [
        ("act_layer", "\"gelu\"", None),
        ("act_layer", "null", None),
        ("act_layer", "\"quick_gelu\"", Some("act_layer is \"quick_gelu\"")),
        ("norm_layer", "\"rmsnorm\"", Some("norm_layer is \"rmsnorm\"")),
        ("mlp_layer", "3", Some("mlp_layer is 3")),
        ("num_heads", "16", Some("num_heads is 16")),
        ("img_size", "32", None),
        ("img_size", "[32, 32]", None),
        (
            "img_size",
            "[16, 64]",
            Some("img_size is 16 x 64, the weights' position embeddings are for 32 x 32"),
        ),
        ("no_embed_class", "false", None),
        ("no_embed_class", "true", Some("17 rows: config.json says no_embed_class")),
    ] {
        let mut changed = good.clone();
        changed["model_args"][key] = serde_json::from_str(value).unwrap();
        std::fs::write(&config, changed.to_string()).unwrap();
        match (open(&timm, Which::Teacher), words) {
            (Ok(_), None) => {}
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{error} lacks {words}"),
            (found, _) => panic!("{key} {value}: {:?}", found.map(|found| found.keys)),
        }
    }
}

/// Rows that are a square may be patches alone, or the CLS token and a grid that is none.
#[test]
fn timms_position_embeddings_are_not_guessed() {
    let renamed = |registers: bool| {
        move |state: &mut State| {
            let bare = std::mem::take(state).into_iter();
            let bare =
                bare.filter_map(|(key, tensor)| Some((key.strip_prefix("backbone.")?.to_owned(), tensor)));
            state.extend(bare);
            state.insert("head.weight".into(), tensor(&[10, 128], 0.0));
            state.insert("pos_embed".into(), tensor(&[1, 16, 128], 0.0));
            if registers {
                state.insert("reg_token".into(), tensor(&[1, 4, 128], 0.0));
            }
        }
    };
    check(&micro(), renamed(false), "pos_embed: 16 rows: they are of that many patches and no CLS token, or");
    let found = changed(&micro(), renamed(true)).unwrap();
    assert_eq!(found.keys.reshaped[0].from, [1, 16, 128]);
}

#[test]
fn a_residual_network_of_timms_is_known_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let timm = folder.path().join("timm");
    std::fs::create_dir(&timm).unwrap();
    let mut bare = State::new();
    for (key, tensor) in weights(&resnet18(), 3) {
        if let Some(key) = key.strip_prefix("backbone.") {
            bare.insert(key.to_owned(), tensor);
        }
    }
    safetensors(&timm.join("model.safetensors"), &bare).unwrap();
    for (name, words) in [
        ("resnet18", None),
        ("resnet18.a1_in1k", None),
        ("resnetblur18", Some("architecture is \"resnetblur18\"; the weights have resnet18's shapes")),
    ] {
        std::fs::write(timm.join("config.json"), format!("{{\"architecture\": \"{name}\"}}")).unwrap();
        match (open(&timm, Which::Teacher), words) {
            (Ok(_), None) => {}
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{error} lacks {words}"),
            (found, _) => panic!("{name}: {:?}", found.map(|found| found.keys)),
        }
    }
}

#[test]
fn what_batch_norms_start_with_is_said_in_onnx_too() {
    let folder = tempfile::tempdir().unwrap();
    for (name, seen) in [("seen", true), ("unseen", false)] {
        let (from, out) = (
            folder.path().join(name).with_extension("safetensors"),
            folder.path().join(name).with_extension("onnx"),
        );
        let mut state = weights(&resnet18(), 3);
        state.retain(|key, _| seen || !(key.contains("running") || key.contains("tracked")));
        safetensors(&from, &state).unwrap();
        let request = Request { from, which: Which::Teacher, target: Target::Onnx, out, size: None };
        let notes = export(&request).unwrap().notes;
        assert_eq!(
            notes.iter().any(|note| note.contains("batch norms have seen nothing yet")),
            !seen,
            "{notes:?}"
        );
    }
}
